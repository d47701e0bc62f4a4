"""Custom fields of leads that refer to others follow their merges: by an index of whom they name."""

from chassis.custom_fields.schema import install_custom_references

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_custom_references("leads")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
