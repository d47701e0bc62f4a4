"""What products cost us, and what orders did when they were placed."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE products ADD COLUMN standard_cost bigint, ADD COLUMN standard_cost_currency text NOT NULL DEFAULT ''"
    )
    op.execute(
        "ALTER TABLE products ADD CONSTRAINT products_standard_cost_check CHECK"
        " (standard_cost >= 0 AND (standard_cost IS NULL) = (standard_cost_currency = '')) NOT VALID"
    )
    op.execute("ALTER TABLE orders ADD COLUMN cost_total bigint, ADD COLUMN costed_subtotal bigint")
    op.execute(
        "ALTER TABLE orders ADD CONSTRAINT orders_cost_check CHECK"
        " (cost_total >= 0 AND (cost_total IS NULL) = (costed_subtotal IS NULL)) NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
