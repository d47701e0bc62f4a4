"""Custom fields of leads that named others before are found by these, too."""

from chassis.custom_fields.schema import fill_custom_references

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    fill_custom_references("leads")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
