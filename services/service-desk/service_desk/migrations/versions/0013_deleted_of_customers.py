"""Deleted tickets of a customer are found by it as those are that are there: what shows its name says none any more."""

from alembic import op

from chassis.schema import build_index

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        build_index(
            "tickets_deleted_of_customer", "tickets (tenant_id, customer_id) WHERE deleted_at IS NOT NULL"
        )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
