"""Values of custom fields know when their records were made, so that lists of those with one value are read a page at a time."""

from chassis.custom_fields.schema import order_values

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    order_values("products", "opportunities")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
