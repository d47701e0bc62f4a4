"""When a prospect became active by its first deal; and what the emptying of the trash looks for: who went into a record by
merges, its cards, and what bulk edits and imports have kept of it for their undoing."""

from alembic import op

from chassis.schema import build_index

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE customers ADD COLUMN IF NOT EXISTS became_active_time timestamptz")
        for table in ("customers", "contacts"):
            merged = f"{table} (tenant_id, merged_into_id) WHERE merged_into_id IS NOT NULL"
            build_index(f"{table}_merged_into", merged)
        build_index("membership_cards_of_customer", "membership_cards (tenant_id, customer_id)")
        build_index("bulk_edit_records_record", "bulk_edit_records (tenant_id, record_id)")
        build_index("import_effects_record", "import_effects (tenant_id, record_id)")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
