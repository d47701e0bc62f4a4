"""Orders have fields of the tenant's own, too: by itself, for who wrote both in another order would wait for ever."""

from chassis.custom_fields.schema import add_custom_fields

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_custom_fields("orders")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
