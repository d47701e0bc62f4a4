"""Customers are found by their tags."""

from chassis.schema import find_by_tags

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    find_by_tags("customers")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
