"""Deleted records of a customer are found by it as those are that are there: what shows its name says another, or none."""

from alembic import op

from chassis.schema import build_index

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for table in ("opportunities", "activities", "orders"):
            build_index(
                f"{table}_deleted_of_customer",
                f"{table} (tenant_id, customer_id) WHERE deleted_at IS NOT NULL",
            )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
