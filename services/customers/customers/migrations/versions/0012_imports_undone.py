"""Imports know duplicates, remember mappings and can be undone."""

from chassis.imports.schema import widen_imports

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    widen_imports()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
