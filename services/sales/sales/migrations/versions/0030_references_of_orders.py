"""Custom fields of orders that refer to others follow their merges, too."""

from chassis.custom_fields.schema import add_custom_references

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_custom_references("orders")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
