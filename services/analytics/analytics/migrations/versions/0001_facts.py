"""Facts from the events of others, and how far they are."""

from alembic import op

from chassis.schema import install_chassis_tables, protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Statuses, sources and priorities are names of other services' enums as they come: their contracts say which there are.
_FACTS = {
    "leads": """
        owner_id uuid,
        team_id uuid,
        source text NOT NULL,
        campaign_id uuid,
        status text NOT NULL,
        captured_at timestamptz NOT NULL,
        contacted boolean NOT NULL,
        qualified boolean NOT NULL
    """,
    "opportunities": """
        owner_id uuid,
        team_id uuid,
        product_id uuid,
        amount bigint,
        currency text NOT NULL,
        stage_id uuid,
        stage_name text NOT NULL,
        stage_position integer NOT NULL,
        probability integer NOT NULL,
        status text NOT NULL,
        engage_date date,
        close_date date,
        origin_lead_id uuid,
        CHECK ((amount IS NULL) = (currency = ''))
    """,
    "orders": """
        owner_id uuid,
        team_id uuid,
        customer_id uuid,
        order_date date NOT NULL,
        status text NOT NULL,
        currency text NOT NULL,
        subtotal bigint NOT NULL,
        total bigint NOT NULL,
        lines jsonb NOT NULL
    """,
    "tickets": """
        owner_id uuid,
        team_id uuid,
        status text NOT NULL,
        priority text NOT NULL,
        opened_at timestamptz NOT NULL,
        responded_at timestamptz,
        ended_at timestamptz
    """,
    "products": "name text NOT NULL, sku text NOT NULL",
    "pipelines": "stages jsonb NOT NULL",
    "people": "name text NOT NULL, team_id uuid",
    "teams": "name text NOT NULL",
    "tenants": "time_zone text NOT NULL",
}
_KEY = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    event_id uuid NOT NULL,
    deleted boolean NOT NULL,
    PRIMARY KEY (tenant_id, id),
"""


def upgrade() -> None:
    for table, columns in _FACTS.items():
        op.execute(f"CREATE TABLE {table} ({_KEY}{columns})")
        protect(table)
    op.execute(
        "CREATE TABLE freshness (tenant_id uuid NOT NULL, domain text NOT NULL,"
        " last_event_at timestamptz NOT NULL, PRIMARY KEY (tenant_id, domain))"
    )
    protect("freshness")
    op.execute("CREATE INDEX leads_captured ON leads (tenant_id, captured_at)")
    op.execute("CREATE INDEX opportunities_engaged ON opportunities (tenant_id, engage_date)")
    op.execute("CREATE INDEX opportunities_closed ON opportunities (tenant_id, close_date)")
    op.execute("CREATE INDEX opportunities_lead ON opportunities (tenant_id, origin_lead_id)")
    op.execute("CREATE INDEX orders_day ON orders (tenant_id, order_date)")
    op.execute("CREATE INDEX tickets_opened ON tickets (tenant_id, opened_at)")
    install_chassis_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
