"""Tickets have fields of the tenant's own."""

from chassis.custom_fields.schema import install_custom_fields, install_custom_references

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_custom_fields("tickets", ordered=True)
    install_custom_references("tickets")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
