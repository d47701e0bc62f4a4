"""Notifications of records that their person was let see, and no longer is, keep the names that they have."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE notifications ADD COLUMN withdrawn boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
