"""Activities have fields of the tenant's own, too."""

from chassis.custom_fields.schema import add_custom_fields

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_custom_fields("activities")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
