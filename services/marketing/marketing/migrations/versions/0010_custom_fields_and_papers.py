"""Campaigns have fields of the tenant's own, notes and files."""

from chassis.attachments.schema import install_attachments
from chassis.custom_fields.schema import install_custom_fields, install_custom_references
from chassis.notes.schema import install_notes

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_custom_fields("campaigns", ordered=True)
    install_custom_references("campaigns")
    install_notes()
    install_attachments()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
