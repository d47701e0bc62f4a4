"""Leads are found by e-mail address and phone, for imports that ask who is there already."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for column in ("email", "phone"):
            op.execute(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS leads_{column} ON leads (tenant_id, {column})"
                f" WHERE deleted_at IS NULL AND {column} <> ''"
            )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
