"""Customers and contacts that were merged, and what was moved for it."""

from alembic import op

from chassis.schema import install_following_tables

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # First, for it may be repeated when the rest has failed.
    with op.get_context().autocommit_block():
        for table in ("tickets",):
            op.execute(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {table}_contact ON {table} (tenant_id, contact_id)"
                " WHERE contact_id IS NOT NULL"
            )
    install_following_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
