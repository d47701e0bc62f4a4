"""What a customer is to the company: a value of a list of the tenant's own."""

from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE customers ADD COLUMN type text NOT NULL DEFAULT ''")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
