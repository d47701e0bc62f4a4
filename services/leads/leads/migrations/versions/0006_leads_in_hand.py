"""Leads from before are known by when somebody last took them in hand, and what was scored by hand stays so.

All of this may be done again, and while the service runs: leads that a replica of the version before makes meanwhile are put
right when they are next changed.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INDEXES = {
    "leads_touched": "leads (tenant_id, touch_time, id) WHERE owner_id IS NOT NULL AND deleted_at IS NULL",
    "leads_pool": "leads (tenant_id, created_at, id) WHERE owner_id IS NULL AND deleted_at IS NULL",
    "leads_on_cadence": "leads (tenant_id, cadence_id) WHERE cadence_id IS NOT NULL AND deleted_at IS NULL",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP POLICY IF EXISTS handling ON leads")
        op.execute("CREATE POLICY handling ON leads TO CURRENT_USER USING (true) WITH CHECK (true)")
        op.execute(
            "UPDATE leads SET score_adjustment = score,"
            " touch_time = greatest(created_at, assign_time, last_contact_time, qualify_time) WHERE touch_time IS NULL"
        )
        op.execute("DROP POLICY handling ON leads")
        for name, columns in _INDEXES.items():
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {columns}")
    op.execute("ALTER TABLE leads VALIDATE CONSTRAINT leads_acceptance")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
