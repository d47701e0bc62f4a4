"""Answers that are kept for repeats go when nobody repeats any more."""

from chassis.schema import clear_answers

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    clear_answers()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
