"""Members are found by their customer alone: what shows its name says another, or none."""

from alembic import op

from chassis.schema import build_index

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        build_index(
            "campaign_members_of_customer",
            "campaign_members (tenant_id, customer_id) WHERE customer_id IS NOT NULL",
        )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
