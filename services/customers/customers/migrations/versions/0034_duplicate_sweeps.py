"""Sweeps for duplicates of all customers and contacts, and the pairs that they find."""

from chassis.duplicates.schema import install_duplicate_sweeps

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_duplicate_sweeps()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
