"""What was received for orders."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE orders ADD COLUMN received_total bigint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE orders ADD COLUMN receipts jsonb NOT NULL DEFAULT '[]'")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
