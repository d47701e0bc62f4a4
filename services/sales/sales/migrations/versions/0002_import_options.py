"""An import may name the currency of its amounts, and knows the team of its owner."""

from chassis.imports.schema import add_import_options

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_import_options()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
