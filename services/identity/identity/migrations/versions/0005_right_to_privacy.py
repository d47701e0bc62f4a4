"""The roles that are there by themselves have the right to hand out and erase a person's data: administrators wholly."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Row security holds for the owner, too, and a migration is no tenant.
    op.execute("ALTER TABLE roles NO FORCE ROW LEVEL SECURITY")
    op.execute(
        'UPDATE roles SET rights = rights || \'{"privacy": "aa"}\'::jsonb, version = version + 1 WHERE built_in'
    )
    op.execute("ALTER TABLE roles FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
