"""Sweeps for duplicates of all leads, and the pairs that they find."""

from chassis.duplicates.schema import install_duplicate_sweeps

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_duplicate_sweeps()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
