"""Imports know the time zone of the company."""

from chassis.imports.schema import add_time_zone

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_time_zone()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
