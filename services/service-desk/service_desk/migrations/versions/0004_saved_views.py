"""Lists as people like to see them, by name; and with which of them a person's list begins."""

from chassis.saved_views.schema import install_saved_views

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_saved_views()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
