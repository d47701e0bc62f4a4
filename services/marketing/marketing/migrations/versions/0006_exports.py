"""The log of exports."""

from chassis.exports.schema import extend_export_tables, install_export_tables

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_export_tables()
    extend_export_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
