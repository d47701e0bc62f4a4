"""Which event of a lead that said whose customer it is was the last, so that a late one is known as such."""

from chassis.schema import install_latest_heard

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_latest_heard()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
