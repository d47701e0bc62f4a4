"""An import may name the currency of its amounts."""

from chassis.imports.tables import add_import_currency

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_import_currency()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
