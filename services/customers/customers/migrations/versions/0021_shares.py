"""Customers are shared with people and teams."""

from alembic import op

from chassis.schema import install_shares

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_shares("customers")
    with op.get_context().autocommit_block():
        # Those of a team are found together with one's own, and with what is shared: one index for each.
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS customers_team ON customers (tenant_id, team_id)"
            " WHERE deleted_at IS NULL"
        )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
