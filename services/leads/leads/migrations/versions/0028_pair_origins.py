"""A pair knows all merges by which it came to be set aside, and is set aside until the last of them is undone."""

from chassis.duplicates.schema import install_pair_origins

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_pair_origins()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
