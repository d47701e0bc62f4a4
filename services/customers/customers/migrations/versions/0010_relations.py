"""Customers are related as suppliers, partners and competitors; parents stand at the children, as before."""

from alembic import op

from chassis.schema import protect

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE customer_relations (
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
    type text NOT NULL CHECK (type IN ('SUPPLIER', 'PARTNER', 'COMPETITOR')),
    from_customer_id uuid NOT NULL,
    to_customer_id uuid NOT NULL,
    notes text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, from_customer_id) REFERENCES customers (tenant_id, id),
    FOREIGN KEY (tenant_id, to_customer_id) REFERENCES customers (tenant_id, id),
    CHECK (from_customer_id <> to_customer_id)
)"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(
        "CREATE UNIQUE INDEX customer_relations_directed ON customer_relations (tenant_id, from_customer_id, to_customer_id)"
        " WHERE type = 'SUPPLIER' AND deleted_at IS NULL"
    )
    op.execute(
        "CREATE UNIQUE INDEX customer_relations_mutual ON customer_relations (tenant_id, type,"
        " least(from_customer_id, to_customer_id), greatest(from_customer_id, to_customer_id))"
        " WHERE type <> 'SUPPLIER' AND deleted_at IS NULL"
    )
    for end in ("from", "to"):
        op.execute(
            f"CREATE INDEX customer_relations_{end} ON customer_relations (tenant_id, {end}_customer_id)"
            " WHERE deleted_at IS NULL"
        )
    protect("customer_relations")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
