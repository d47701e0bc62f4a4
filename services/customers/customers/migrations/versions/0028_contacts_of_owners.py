"""Contacts are found by their owner and team: what is seen through the customer, a share or further customers is put together
from indexes, and no other is looked at."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, column in (("owner", "owner_id"), ("team", "team_id")):
            op.execute(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS contacts_{name} ON contacts (tenant_id, {column})"
                " WHERE deleted_at IS NULL"
            )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
