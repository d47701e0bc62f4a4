"""Products and opportunities have fields of the tenant's own."""

from chassis.custom_fields.schema import install_custom_fields

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_custom_fields("products", "opportunities")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
