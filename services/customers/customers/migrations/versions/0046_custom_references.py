"""Custom fields that refer to customers and contacts follow their merges: by an index of whom they name."""

from chassis.custom_fields.schema import install_custom_references
from chassis.schema import install_following_tables

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_following_tables()
    install_custom_references("customers", "contacts")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
