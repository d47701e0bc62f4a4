"""Imports know the time zone of the company."""

from chassis.imports.schema import add_time_zone

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_time_zone()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
