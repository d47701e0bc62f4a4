"""Which event that named a customer was the last, so that a late one is known as such."""

from chassis.schema import install_latest_heard

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_latest_heard()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
