"""Custom fields of customers and contacts that named others before are found by these, too."""

from chassis.custom_fields.schema import fill_custom_references

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    fill_custom_references("customers", "contacts")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
