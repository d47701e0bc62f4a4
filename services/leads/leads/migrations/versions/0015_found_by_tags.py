"""Leads are found by their tags."""

from chassis.schema import find_by_tags

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    find_by_tags("leads")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
