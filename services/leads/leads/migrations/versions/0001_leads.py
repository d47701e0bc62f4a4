"""Leads and their conversions."""

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
_LEADS = """
    owner_id uuid,
    team_id uuid,
    search integer[] NOT NULL,
    search_text text NOT NULL,
    name text NOT NULL,
    company_name text NOT NULL,
    title text NOT NULL,
    department text NOT NULL,
    phone text NOT NULL,
    email text NOT NULL,
    im_account text NOT NULL,
    website text NOT NULL,
    industry text NOT NULL,
    region text NOT NULL,
    address text NOT NULL,
    source text NOT NULL,
    source_detail text NOT NULL,
    campaign_id uuid,
    form_id uuid,
    utm jsonb NOT NULL,
    status text NOT NULL CHECK (status IN ('NEW', 'CONTACTED', 'QUALIFIED', 'CONVERTING', 'CONVERTED', 'DISQUALIFIED')),
    disqualify_reason text NOT NULL,
    disqualify_note text NOT NULL,
    score integer NOT NULL CHECK (score BETWEEN 0 AND 100),
    estimated_amount bigint,
    estimated_amount_currency text NOT NULL,
    notes text NOT NULL,
    tags text[] NOT NULL,
    external_key text NOT NULL,
    assign_time timestamptz,
    first_contact_time timestamptz,
    last_contact_time timestamptz,
    contact_count integer NOT NULL,
    next_contact_time timestamptz,
    qualify_time timestamptz,
    disqualify_time timestamptz,
    convert_time timestamptz,
    conversion_id uuid,
    customer_id uuid,
    contact_id uuid,
    opportunity_id uuid,
    CHECK (name <> '' OR company_name <> ''),
    CHECK ((status = 'CONVERTED') = (customer_id IS NOT NULL)),
    CHECK ((estimated_amount IS NULL) = (estimated_amount_currency = ''))
"""
_CONVERSIONS = """
    lead_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('RUNNING', 'SUCCEEDED', 'FAILED')),
    undoing boolean NOT NULL,
    customer_id uuid NOT NULL,
    contact_id uuid,
    opportunity_id uuid,
    customer_existed boolean NOT NULL,
    contact_existed boolean NOT NULL,
    attempts integer NOT NULL,
    faults integer NOT NULL,
    failure_reason text NOT NULL,
    failure_message text NOT NULL,
    end_time timestamptz,
    status_before text NOT NULL,
    plan jsonb NOT NULL,
    FOREIGN KEY (tenant_id, lead_id) REFERENCES leads (tenant_id, id)
"""


def upgrade() -> None:
    op.execute(f"CREATE TABLE leads ({_RECORD}{_LEADS})")
    op.execute(f"CREATE TABLE conversions ({_RECORD}{_CONVERSIONS})")
    for column in (
        "created_at", "updated_at", "name", "company_name", "score", "last_contact_time", "next_contact_time",
    ):  # fmt: skip
        op.execute(f"CREATE INDEX leads_{column} ON leads (tenant_id, {column}, id) WHERE deleted_at IS NULL")
    op.execute("CREATE INDEX leads_owner ON leads (tenant_id, owner_id) WHERE deleted_at IS NULL")
    op.execute("CREATE INDEX leads_customer ON leads (tenant_id, customer_id) WHERE customer_id IS NOT NULL")
    op.execute(
        "CREATE UNIQUE INDEX leads_external_key ON leads (tenant_id, external_key)"
        " WHERE external_key <> '' AND deleted_at IS NULL"
    )
    # A lead has at most one conversion that runs or has succeeded.
    op.execute(
        "CREATE UNIQUE INDEX conversions_once ON conversions (tenant_id, lead_id) WHERE state <> 'FAILED'"
    )
    protect("leads")
    protect("conversions")
    add_search("leads")
    install_chassis_tables()
    install_import_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
