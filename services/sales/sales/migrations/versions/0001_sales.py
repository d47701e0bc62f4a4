"""Products, the pipeline, opportunities, activities and orders."""

from alembic import op

from chassis.imports.schema import install_import_tables
from chassis.schema import add_search, install_chassis_tables, protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_RECORD = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, id),
"""
_SEARCHED = """
    search integer[] NOT NULL,
    search_text text NOT NULL,
"""
_OWNED = """
    owner_id uuid,
    team_id uuid,
"""
_PRODUCTS = """
    name text NOT NULL CHECK (name <> ''),
    sku text NOT NULL,
    series text NOT NULL,
    unit text NOT NULL,
    list_price bigint CHECK (list_price >= 0),
    list_price_currency text NOT NULL,
    tax_percent numeric CHECK (tax_percent BETWEEN 0 AND 100),
    description text NOT NULL,
    status text NOT NULL CHECK (status IN ('ACTIVE', 'RETIRED')),
    retire_time timestamptz,
    CHECK ((list_price IS NULL) = (list_price_currency = ''))
"""
_PIPELINES = """
    name text NOT NULL,
    stages jsonb NOT NULL
"""
_OPPORTUNITIES = """
    name text NOT NULL CHECK (name <> ''),
    customer_id uuid NOT NULL,
    customer_name text NOT NULL,
    contact_id uuid,
    product_id uuid,
    product_name text NOT NULL,
    amount bigint CHECK (amount >= 0),
    amount_currency text NOT NULL,
    stage_id uuid NOT NULL,
    stage_name text NOT NULL,
    stage_position integer NOT NULL,
    stage_enter_time timestamptz NOT NULL,
    rot_time timestamptz,
    probability integer NOT NULL CHECK (probability BETWEEN 0 AND 100),
    status text NOT NULL CHECK (status IN ('OPEN', 'WON', 'LOST')),
    engage_date date,
    expected_close_date date,
    close_date date,
    loss_reason text NOT NULL,
    close_note text NOT NULL,
    competitor text NOT NULL,
    campaign_id uuid,
    origin_lead_id uuid,
    notes text NOT NULL,
    external_key text NOT NULL,
    assign_time timestamptz,
    next_activity_time timestamptz,
    FOREIGN KEY (tenant_id, product_id) REFERENCES products (tenant_id, id),
    CHECK ((amount IS NULL) = (amount_currency = '')),
    CHECK ((status = 'OPEN') = (close_date IS NULL))
"""
_ACTIVITIES = """
    kind text NOT NULL CHECK (kind IN ('VISIT', 'CALL', 'EMAIL', 'SMS', 'MEETING', 'TASK')),
    subject text NOT NULL CHECK (subject <> ''),
    description text NOT NULL,
    status text NOT NULL CHECK (status IN ('PLANNED', 'COMPLETED', 'CANCELLED')),
    due_time timestamptz NOT NULL,
    duration_minutes integer NOT NULL,
    location text NOT NULL,
    customer_id uuid,
    customer_name text NOT NULL,
    contact_id uuid,
    lead_id uuid,
    opportunity_id uuid,
    complete_time timestamptz,
    result text NOT NULL,
    cancel_reason text NOT NULL,
    FOREIGN KEY (tenant_id, opportunity_id) REFERENCES opportunities (tenant_id, id),
    CHECK ((status = 'COMPLETED') = (complete_time IS NOT NULL))
"""
_ORDERS = """
    number text NOT NULL CHECK (number <> ''),
    customer_id uuid NOT NULL,
    customer_name text NOT NULL,
    contact_id uuid,
    opportunity_id uuid,
    order_date date NOT NULL,
    currency_code text NOT NULL,
    lines jsonb NOT NULL,
    subtotal bigint NOT NULL,
    tax_total bigint NOT NULL,
    total bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('DRAFT', 'PLACED', 'PARTLY_DELIVERED', 'DELIVERED', 'CANCELLED')),
    place_time timestamptz,
    cancel_time timestamptz,
    cancel_reason text NOT NULL,
    deliver_time timestamptz,
    delivery_address text NOT NULL,
    requested_delivery_date date,
    notes text NOT NULL,
    external_key text NOT NULL,
    deliveries jsonb NOT NULL,
    FOREIGN KEY (tenant_id, opportunity_id) REFERENCES opportunities (tenant_id, id),
    CHECK (total = subtotal + tax_total),
    CHECK (status = 'DRAFT' OR (place_time IS NOT NULL AND currency_code <> ''))
"""
_COUNTERS = """
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (tenant_id, name)
"""
_SORTED = {
    "products": ("created_at", "updated_at", "name", "sku", "series"),
    "opportunities": (
        "created_at", "updated_at", "name", "amount", "probability", "engage_date", "expected_close_date", "close_date",
    ),
    "activities": ("created_at", "updated_at", "subject", "due_time", "complete_time"),
    "orders": ("created_at", "updated_at", "order_date", "number", "total", "place_time"),
}  # fmt: skip


def upgrade() -> None:
    op.execute(f"CREATE TABLE products ({_RECORD}{_SEARCHED}{_PRODUCTS})")
    op.execute(f"CREATE TABLE pipelines ({_RECORD}{_PIPELINES})")
    op.execute(f"CREATE TABLE opportunities ({_RECORD}{_OWNED}{_SEARCHED}{_OPPORTUNITIES})")
    op.execute(f"CREATE TABLE activities ({_RECORD}{_OWNED}{_SEARCHED}{_ACTIVITIES})")
    op.execute(f"CREATE TABLE orders ({_RECORD}{_OWNED}{_SEARCHED}{_ORDERS})")
    op.execute(f"CREATE TABLE counters ({_COUNTERS})")
    for table, columns in _SORTED.items():
        for column in columns:
            op.execute(
                f"CREATE INDEX {table}_{column} ON {table} (tenant_id, {column}, id) WHERE deleted_at IS NULL"
            )
    for table in ("opportunities", "activities", "orders"):
        op.execute(f"CREATE INDEX {table}_owner ON {table} (tenant_id, owner_id) WHERE deleted_at IS NULL")
        op.execute(
            f"CREATE INDEX {table}_customer ON {table} (tenant_id, customer_id) WHERE deleted_at IS NULL"
        )
    op.execute(
        "CREATE UNIQUE INDEX products_name_once ON products (tenant_id, lower(name)) WHERE deleted_at IS NULL"
    )
    op.execute(
        "CREATE UNIQUE INDEX products_sku_once ON products (tenant_id, sku) WHERE sku <> '' AND deleted_at IS NULL"
    )
    for table in ("opportunities", "orders"):
        op.execute(
            f"CREATE UNIQUE INDEX {table}_external_key ON {table} (tenant_id, external_key)"
            " WHERE external_key <> '' AND deleted_at IS NULL"
        )
    op.execute("CREATE INDEX opportunities_stage ON opportunities (tenant_id, stage_id)")
    op.execute("CREATE INDEX opportunities_product ON opportunities (tenant_id, product_id)")
    op.execute("CREATE INDEX activities_opportunity ON activities (tenant_id, opportunity_id)")
    op.execute("CREATE INDEX activities_lead ON activities (tenant_id, lead_id) WHERE lead_id IS NOT NULL")
    op.execute("CREATE INDEX orders_opportunity ON orders (tenant_id, opportunity_id)")
    op.execute("CREATE UNIQUE INDEX orders_unique_number ON orders (tenant_id, number)")
    op.execute("CREATE INDEX orders_lines ON orders USING gin (lines jsonb_path_ops)")
    for table in ("products", "pipelines", "opportunities", "activities", "orders", "counters"):
        protect(table)
    for table in _SORTED:
        add_search(table)
    install_chassis_tables()
    install_import_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
