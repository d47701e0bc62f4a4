"""The public pool: what a customer keeps of it, and the tenant's rule."""

from alembic import op

from chassis.schema import protect

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_RULES = """CREATE TABLE pool_rules (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    idle_days integer NOT NULL CHECK (idle_days >= 0),
    warning_days integer NOT NULL CHECK (warning_days >= 0),
    kept_level_keys text[] NOT NULL,
    kept_stage_keys text[] NOT NULL,
    claim_limit integer NOT NULL CHECK (claim_limit >= 0),
    claim_pause_hours integer NOT NULL CHECK (claim_pause_hours >= 0),
    PRIMARY KEY (tenant_id, id),
    CHECK (idle_days = 0 OR (warning_days > 0 AND warning_days < idle_days))
)"""
_INDEXES = (
    # By this they are found whom nobody has been in touch with for long: as `customers.pool` has it.
    "customers_touched ON customers (tenant_id, greatest(created_at, assign_time, last_contact_time, last_deal_time,"
    " last_service_time), id) WHERE owner_id IS NOT NULL AND deleted_at IS NULL",
    "customers_return_time ON customers (tenant_id, return_time, id) WHERE return_time IS NOT NULL AND deleted_at IS NULL",
    "customers_pool ON customers (tenant_id, created_at, id) WHERE owner_id IS NULL AND deleted_at IS NULL",
)


def upgrade() -> None:
    op.execute(_RULES)
    protect("pool_rules")
    op.execute(
        """ALTER TABLE customers
            ADD COLUMN return_time timestamptz,
            ADD COLUMN pool_time timestamptz,
            ADD COLUMN previous_owner_id uuid,
            ADD COLUMN return_reason text NOT NULL DEFAULT ''"""
    )
    with op.get_context().autocommit_block():
        for index in _INDEXES:
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index}")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
