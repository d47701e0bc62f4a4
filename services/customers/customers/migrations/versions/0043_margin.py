"""What customers' orders cost us, as far as it is known, and what margin that leaves; beside their names, that lists may be
filtered and ordered by it."""

from alembic import op

from chassis.schema import build_index

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Each table by itself: who holds a customer and wants its orders would wait for whoever holds the orders and wants the
    # customers. A repeat goes on.
    with op.get_context().autocommit_block():
        for table, columns in (
            ("customers", ("margin", "costed_revenue")), ("customer_amounts", ("costed_revenue", "margin")),
            ("customer_orders", ("costed_revenue", "cost")),
        ):  # fmt: skip
            added = ", ".join(f"ADD COLUMN IF NOT EXISTS {column} bigint" for column in columns)
            op.execute(f"ALTER TABLE {table} {added}")
        build_index("customers_margin", "customers (tenant_id, margin, id) WHERE deleted_at IS NULL")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
