"""Customers and contacts that were merged or deleted, and what they were before; the rule by which the trash is emptied."""

from alembic import op

from chassis.schema import protect

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE merges (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    owner_id uuid,
    team_id uuid,
    kind text NOT NULL CHECK (kind IN ('CUSTOMER', 'CONTACT')),
    survivor_id uuid NOT NULL,
    merged_ids uuid[] NOT NULL,
    state text NOT NULL CHECK (state IN ('MERGED', 'UNDONE')),
    undo_end_time timestamptz NOT NULL,
    undo_time timestamptz,
    kept jsonb NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CHECK ((state = 'UNDONE') = (undo_time IS NOT NULL))
)"""

_TRASH = """CREATE TABLE trash (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    owner_id uuid,
    team_id uuid,
    kind text NOT NULL CHECK (kind IN ('CUSTOMER', 'CONTACT')),
    display_name text NOT NULL,
    kept jsonb NOT NULL,
    PRIMARY KEY (tenant_id, id)
)"""
_RULES = """CREATE TABLE trash_rules (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    keep_days integer NOT NULL CHECK (keep_days >= 0),
    PRIMARY KEY (tenant_id, id)
)"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(_TRASH)
    op.execute(_RULES)
    op.execute("CREATE INDEX trash_created_at ON trash (tenant_id, created_at, id)")
    protect("trash")
    protect("trash_rules")
    for column in ("created_at", "updated_at"):
        op.execute(
            f"CREATE INDEX merges_{column} ON merges (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    op.execute("CREATE INDEX merges_survivor ON merges (tenant_id, survivor_id)")
    protect("merges")
    for table in ("customers", "contacts"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN merged_into_id uuid")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
