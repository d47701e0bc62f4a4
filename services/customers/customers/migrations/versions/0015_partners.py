"""Customers that are partners, with what they owe; facts of orders tell their totals and what was received.

Orders heard before have a total of nothing until the values are rebuilt, so nobody owes anything by them before.
"""

from alembic import op

from chassis.schema import protect

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE partners (
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
    customer_id uuid NOT NULL,
    type text NOT NULL CHECK (type <> ''),
    discount_level text NOT NULL,
    discount_percent numeric CHECK (discount_percent BETWEEN 0 AND 100),
    credit_limit bigint CHECK (credit_limit >= 0),
    credit_limit_currency text NOT NULL,
    notes text NOT NULL,
    arrears jsonb NOT NULL,
    in_arrears boolean NOT NULL,
    over_credit boolean NOT NULL,
    arrears_amount bigint NOT NULL,
    arrears_currency text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CHECK ((credit_limit IS NULL) = (credit_limit_currency = ''))
)"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(
        "CREATE UNIQUE INDEX partners_customer ON partners (tenant_id, customer_id) WHERE deleted_at IS NULL"
    )
    for column in ("created_at", "updated_at", "arrears_amount", "credit_limit"):
        op.execute(
            f"CREATE INDEX partners_{column} ON partners (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    for column in ("type", "discount_level"):
        op.execute(f"CREATE INDEX partners_{column} ON partners (tenant_id, {column})")
    protect("partners")
    for column in ("total", "received"):
        op.execute(f"ALTER TABLE customer_orders ADD COLUMN {column} bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
