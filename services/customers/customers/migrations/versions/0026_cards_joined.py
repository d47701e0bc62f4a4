"""Cards whose points went to another, because their customers were merged."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE membership_cards ADD COLUMN IF NOT EXISTS merged_into_id uuid")
    with op.get_context().autocommit_block():
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS membership_cards_merged ON membership_cards (tenant_id, merged_into_id)"
            " WHERE merged_into_id IS NOT NULL"
        )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
