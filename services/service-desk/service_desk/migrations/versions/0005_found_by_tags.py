"""Tickets are found by their tags."""

from chassis.schema import find_by_tags

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    find_by_tags("tickets")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
