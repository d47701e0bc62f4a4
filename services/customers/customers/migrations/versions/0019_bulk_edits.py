"""Changes of many records at once, and what each did to which record."""

from chassis.bulk_edits.schema import install_bulk_edits

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_bulk_edits()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
