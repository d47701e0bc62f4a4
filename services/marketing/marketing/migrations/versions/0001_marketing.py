"""Campaigns, their members, web forms and what was sent with them."""

from alembic import op

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
_CAMPAIGNS = """
    name text NOT NULL CHECK (name <> ''),
    channel text NOT NULL CHECK (channel IN ('EMAIL', 'SMS', 'PHONE', 'DIRECT_MAIL', 'SEARCH', 'WEB', 'INSTANT_MESSAGE',
        'SURVEY', 'CONFERENCE', 'WEB_MEETING', 'ON_SITE_EVENT', 'OTHER')),
    status text NOT NULL CHECK (status IN ('PLANNED', 'RUNNING', 'COMPLETED', 'CANCELLED')),
    budget bigint,
    budget_currency text NOT NULL,
    actual_cost bigint,
    actual_cost_currency text NOT NULL,
    expected_revenue bigint,
    expected_revenue_currency text NOT NULL,
    start_date date,
    end_date date,
    description text NOT NULL,
    expected_response_percent integer NOT NULL CHECK (expected_response_percent BETWEEN 0 AND 100),
    start_time timestamptz,
    end_time timestamptz,
    external_key text NOT NULL,
    CHECK (end_date >= start_date),
    CHECK ((budget IS NULL) = (budget_currency = '')),
    CHECK ((actual_cost IS NULL) = (actual_cost_currency = '')),
    CHECK ((expected_revenue IS NULL) = (expected_revenue_currency = ''))
"""
_MEMBERS = """
    campaign_id uuid NOT NULL,
    lead_id uuid,
    customer_id uuid,
    contact_id uuid,
    display_name text NOT NULL,
    status text NOT NULL CHECK (status IN ('PLANNED', 'REACHED', 'RESPONDED', 'ATTENDED', 'DECLINED')),
    response_time timestamptz,
    note text NOT NULL,
    FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CHECK (lead_id IS NOT NULL OR customer_id IS NOT NULL)
"""
_FORMS = """
    name text NOT NULL CHECK (name <> ''),
    campaign_id uuid,
    public_key text NOT NULL CHECK (public_key <> ''),
    tenant_slug text NOT NULL,
    fields jsonb NOT NULL,
    submit_label text NOT NULL,
    thank_you_text text NOT NULL,
    redirect_url text NOT NULL,
    allowed_origins text[] NOT NULL,
    status text NOT NULL CHECK (status IN ('OPEN', 'CLOSED')),
    submission_count integer NOT NULL,
    last_submission_time timestamptz,
    FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id)
"""
_SORTED = {
    "campaigns": ("created_at", "updated_at", "name", "start_date", "end_date"),
    "campaign_members": ("created_at", "updated_at", "response_time", "display_name"),
    "web_forms": ("created_at", "updated_at", "name", "submission_count"),
}


def upgrade() -> None:
    op.execute(f"CREATE TABLE campaigns ({_OWNED}{_CAMPAIGNS})")
    op.execute(f"CREATE TABLE campaign_members ({_OWNED}{_MEMBERS})")
    op.execute(f"CREATE TABLE web_forms ({_OWNED}{_FORMS})")
    for table, columns in _SORTED.items():
        for column in columns:
            op.execute(
                f"CREATE INDEX {table}_{column} ON {table} (tenant_id, {column}, id) WHERE deleted_at IS NULL"
            )
        op.execute(f"CREATE INDEX {table}_owner ON {table} (tenant_id, owner_id) WHERE deleted_at IS NULL")
        protect(table)
        add_search(table)
    op.execute(
        "CREATE UNIQUE INDEX campaigns_external_key ON campaigns (tenant_id, external_key)"
        " WHERE external_key <> '' AND deleted_at IS NULL"
    )
    op.execute(
        "CREATE UNIQUE INDEX members_lead ON campaign_members (tenant_id, campaign_id, lead_id)"
        " WHERE lead_id IS NOT NULL AND deleted_at IS NULL"
    )
    # A customer may have come as a lead, too: both memberships are true.
    op.execute(
        "CREATE UNIQUE INDEX members_customer ON campaign_members (tenant_id, campaign_id, customer_id)"
        " WHERE lead_id IS NULL AND deleted_at IS NULL"
    )
    for kind in ("lead", "customer"):
        # The predicate keeps each out of the plans of the other, also while the table has no statistics yet.
        op.execute(
            f"CREATE INDEX members_of_{kind} ON campaign_members (tenant_id, {kind}_id)"
            f" WHERE {kind}_id IS NOT NULL AND deleted_at IS NULL"
        )
    # Members are counted whenever campaigns are read: out of the index alone.
    op.execute(
        "CREATE INDEX members_of_campaign ON campaign_members (tenant_id, campaign_id) INCLUDE (status)"
        " WHERE deleted_at IS NULL"
    )
    op.execute("CREATE INDEX web_forms_campaign ON web_forms (tenant_id, campaign_id)")
    # Whoever sends a form belongs to no tenant: keys are looked up by the relay role, which sees nothing else of forms.
    op.execute("CREATE UNIQUE INDEX web_forms_key ON web_forms (public_key)")
    op.execute("CREATE POLICY directory ON web_forms FOR SELECT TO kehu_marketing_relay USING (true)")
    op.execute("GRANT SELECT (tenant_id, id, tenant_slug, public_key) ON web_forms TO kehu_marketing_relay")
    op.execute(
        "CREATE TABLE form_submissions (tenant_id uuid NOT NULL, id uuid NOT NULL, form_id uuid NOT NULL, digest bytea,"
        " submit_time timestamptz NOT NULL, PRIMARY KEY (tenant_id, id))"
    )
    protect("form_submissions", app="SELECT, INSERT")
    op.execute(
        "CREATE TABLE campaign_leads (tenant_id uuid NOT NULL, lead_id uuid NOT NULL, campaign_id uuid,"
        " converted boolean NOT NULL, gone boolean NOT NULL, version integer NOT NULL, PRIMARY KEY (tenant_id, lead_id))"
    )
    op.execute("CREATE INDEX campaign_leads_campaign ON campaign_leads (tenant_id, campaign_id)")
    protect("campaign_leads", app="SELECT, INSERT, UPDATE")
    install_chassis_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
