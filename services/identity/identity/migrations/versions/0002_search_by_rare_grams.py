"""Whole texts and long numbers are found by grams of their own; many hits are no longer ranked one and all."""

from chassis.schema import widen_search

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    widen_search("people")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
