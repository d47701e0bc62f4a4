"""Activities and orders have fields of the tenant's own, too."""

from chassis.custom_fields.schema import add_custom_fields

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_custom_fields("activities")
    add_custom_fields("orders")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
