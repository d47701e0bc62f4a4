"""Leads are found by the customer or contact to which they were attached, and by campaigns of UTM."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for column in ("duplicate_of_customer_id", "duplicate_of_contact_id"):
            op.execute(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS leads_{column} ON leads (tenant_id, {column})"
                f" WHERE {column} IS NOT NULL"
            )
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS leads_utm_campaign ON leads (tenant_id, utm_campaign)"
            " WHERE utm_campaign <> '' AND deleted_at IS NULL"
        )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
