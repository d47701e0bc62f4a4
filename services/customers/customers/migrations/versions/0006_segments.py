"""Segments: named sets of customers."""

from alembic import op

from chassis.schema import protect

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SEGMENTS = """
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
    display_name text NOT NULL CHECK (display_name <> ''),
    description text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('STATIC', 'RULE')),
    filter text NOT NULL,
    member_count bigint NOT NULL CHECK (member_count >= 0),
    PRIMARY KEY (tenant_id, id),
    CHECK ((kind = 'RULE') = (filter <> '')),
    CHECK (kind = 'STATIC' OR member_count = 0)
"""
_MEMBERS = """
    tenant_id uuid NOT NULL,
    segment_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    added_at timestamptz NOT NULL,
    added_by uuid NOT NULL,
    PRIMARY KEY (tenant_id, segment_id, customer_id),
    FOREIGN KEY (tenant_id, segment_id) REFERENCES segments (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id)
"""


def upgrade() -> None:
    op.execute(f"CREATE TABLE segments ({_SEGMENTS})")
    op.execute(
        "CREATE UNIQUE INDEX segments_name ON segments (tenant_id, lower(display_name)) WHERE deleted_at IS NULL"
    )
    for column in ("created_at", "updated_at", "display_name"):
        op.execute(
            f"CREATE INDEX segments_{column} ON segments (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    op.execute(f"CREATE TABLE segment_customers ({_MEMBERS})")
    op.execute("CREATE INDEX segment_customers_customer ON segment_customers (tenant_id, customer_id)")
    protect("segments")
    protect("segment_customers", app="SELECT, INSERT, DELETE")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
