"""The log of exports tells of lists that belong to one record, of chosen records, and of cards."""

from chassis.exports.schema import extend_export_tables

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    extend_export_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
