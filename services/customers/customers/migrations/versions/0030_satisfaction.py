"""How content customers are, by the ratings of their tickets; and what they are worth, beside their names, that lists may be
filtered and ordered by it.

Of what was bought before, the columns tell after the next review of the tenant, which comes within minutes of any change, and
each night.
"""

from alembic import op

from chassis.schema import build_index, protect

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_RATINGS = """CREATE TABLE IF NOT EXISTS customer_ratings (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    event_id uuid NOT NULL,
    customer_id uuid,
    rating smallint NOT NULL CHECK (rating BETWEEN 1 AND 5),
    rated_on date NOT NULL,
    PRIMARY KEY (tenant_id, id)
)"""
_SORTED = ("order_count", "last_order_date", "revenue", "potential", "rfm_tier", "satisfaction_index")


def upgrade() -> None:
    op.execute(_RATINGS)
    op.execute(
        "CREATE INDEX IF NOT EXISTS customer_ratings_customer ON customer_ratings (tenant_id, customer_id, rated_on)"
    )
    # What stands here is kept when the making of an index has failed, and is then repeated.
    op.execute("DROP POLICY IF EXISTS tenant ON customer_ratings")
    protect("customer_ratings")
    for table in ("customer_values", "customer_value_months"):
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS satisfaction numeric(4, 1),"
            " ADD COLUMN IF NOT EXISTS ratings integer NOT NULL DEFAULT 0"
        )
    op.execute(
        """ALTER TABLE customers
            ADD COLUMN IF NOT EXISTS order_count integer NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS last_order_date date,
            ADD COLUMN IF NOT EXISTS revenue bigint NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS potential bigint NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS value_currency text NOT NULL DEFAULT '',
            ADD COLUMN IF NOT EXISTS rfm_tier smallint,
            ADD COLUMN IF NOT EXISTS satisfaction_index numeric(4, 1)"""
    )
    with op.get_context().autocommit_block():
        for column in _SORTED:
            build_index(
                f"customers_{column}", f"customers (tenant_id, {column}, id) WHERE deleted_at IS NULL"
            )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
