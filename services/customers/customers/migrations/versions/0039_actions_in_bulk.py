"""Bulk edits that do something else with records than to change fields of them."""

from chassis.bulk_edits.schema import add_actions

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_actions()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
