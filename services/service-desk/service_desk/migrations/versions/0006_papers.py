"""Tickets have notes and files."""

from chassis.attachments.schema import install_attachments
from chassis.notes.schema import install_notes

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_notes()
    install_attachments()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
