"""Custom fields of activities that refer to others follow their merges, too."""

from chassis.custom_fields.schema import add_custom_references

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_custom_references("activities")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
