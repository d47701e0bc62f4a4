"""Customers and contacts."""

from alembic import op

from chassis.imports.schema import install_import_tables
from chassis.schema import add_search, install_chassis_tables, protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_OWNED = """
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
    search integer[] NOT NULL,
    search_text text NOT NULL,
    PRIMARY KEY (tenant_id, id),
"""
_CUSTOMERS = """
    kind text NOT NULL CHECK (kind IN ('COMPANY', 'PERSON')),
    display_name text NOT NULL CHECK (display_name <> ''),
    industry text NOT NULL,
    size text NOT NULL CHECK (size IN ('', 'MICRO', 'SMALL', 'MEDIUM', 'LARGE')),
    region text NOT NULL,
    level text NOT NULL CHECK (level IN ('', 'A', 'B', 'C', 'D')),
    stage text NOT NULL CHECK (stage IN ('', 'PROSPECT', 'ACTIVE', 'DORMANT', 'LOST')),
    source text NOT NULL,
    phone text NOT NULL,
    email text NOT NULL,
    website text NOT NULL,
    address jsonb NOT NULL,
    tags text[] NOT NULL,
    annual_revenue bigint,
    annual_revenue_currency text NOT NULL,
    employee_count integer NOT NULL,
    year_established integer NOT NULL,
    parent_customer_id uuid,
    registration_number text NOT NULL,
    notes text NOT NULL,
    external_key text NOT NULL,
    origin_lead_id uuid,
    assign_time timestamptz,
    next_contact_time timestamptz,
    last_contact_time timestamptz,
    last_deal_time timestamptz,
    last_service_time timestamptz,
    FOREIGN KEY (tenant_id, parent_customer_id) REFERENCES customers (tenant_id, id),
    CHECK ((annual_revenue IS NULL) = (annual_revenue_currency = ''))
"""
_CONTACTS = """
    customer_id uuid NOT NULL,
    display_name text NOT NULL CHECK (display_name <> ''),
    title text NOT NULL,
    department text NOT NULL,
    decision_role text NOT NULL CHECK (decision_role IN ('', 'DECIDER', 'INFLUENCER', 'USER', 'OPPONENT')),
    reports_to_id uuid,
    phones jsonb NOT NULL,
    emails jsonb NOT NULL,
    im_account text NOT NULL,
    birthday date,
    notes text NOT NULL,
    "primary" boolean NOT NULL,
    origin_lead_id uuid,
    external_key text NOT NULL,
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    FOREIGN KEY (tenant_id, reports_to_id) REFERENCES contacts (tenant_id, id)
"""
_SORTED = (
    "created_at", "updated_at", "display_name", "last_contact_time", "next_contact_time", "last_deal_time", "last_service_time",
)  # fmt: skip


def upgrade() -> None:
    op.execute(f"CREATE TABLE customers ({_OWNED}{_CUSTOMERS})")
    op.execute(f"CREATE TABLE contacts ({_OWNED}{_CONTACTS})")
    for column in _SORTED:
        op.execute(
            f"CREATE INDEX customers_{column} ON customers (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    op.execute("CREATE INDEX customers_owner ON customers (tenant_id, owner_id) WHERE deleted_at IS NULL")
    op.execute("CREATE INDEX customers_parent ON customers (tenant_id, parent_customer_id)")
    op.execute("CREATE INDEX customers_lower_name ON customers (tenant_id, lower(display_name))")
    for table in ("customers", "contacts"):
        op.execute(
            f"CREATE UNIQUE INDEX {table}_external_key ON {table} (tenant_id, external_key)"
            " WHERE external_key <> '' AND deleted_at IS NULL"
        )
    for column in ("created_at", "updated_at", "display_name"):
        op.execute(
            f"CREATE INDEX contacts_{column} ON contacts (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    op.execute("CREATE INDEX contacts_customer ON contacts (tenant_id, customer_id)")
    op.execute("CREATE INDEX contacts_superior ON contacts (tenant_id, reports_to_id)")
    for table in ("customers", "contacts"):
        protect(table)
        add_search(table)
    install_chassis_tables()
    install_import_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
