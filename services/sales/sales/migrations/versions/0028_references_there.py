"""Custom fields of products and opportunities that named others before are found by these, too."""

from chassis.custom_fields.schema import fill_custom_references

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    fill_custom_references("products", "opportunities")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
