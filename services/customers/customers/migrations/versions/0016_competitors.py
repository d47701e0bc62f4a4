"""Competitors and their products."""

from alembic import op

from chassis.schema import add_search, protect

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE competitors (
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
    website text NOT NULL,
    strengths text NOT NULL,
    weaknesses text NOT NULL,
    notes text NOT NULL,
    customer_id uuid,
    products jsonb NOT NULL,
    search integer[] NOT NULL,
    search_text text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id)
)"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(
        "CREATE UNIQUE INDEX competitors_name ON competitors (tenant_id, lower(display_name)) WHERE deleted_at IS NULL"
    )
    for column in ("created_at", "updated_at", "display_name"):
        op.execute(
            f"CREATE INDEX competitors_{column} ON competitors (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    op.execute(
        "CREATE INDEX competitors_customer ON competitors (tenant_id, customer_id) WHERE customer_id IS NOT NULL"
    )
    add_search("competitors")
    protect("competitors")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
