"""Each time that somebody was captured, merges of leads, and the tenant's country."""

from alembic import op

from chassis.schema import install_home_country, owner_role, protect

revision = "0013"
down_revision = "0012"
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
_TABLES = {
    "lead_captures": """
        lead_id uuid NOT NULL,
        repeated boolean NOT NULL,
        source text NOT NULL,
        source_detail text NOT NULL,
        campaign_id uuid,
        form_id uuid,
        utm jsonb NOT NULL,
        referrer text NOT NULL,
        landing_page text NOT NULL,
        click_id text NOT NULL,
        message text NOT NULL,
        answers jsonb NOT NULL,
        FOREIGN KEY (tenant_id, lead_id) REFERENCES leads (tenant_id, id)
    """,
    "lead_merges": """
        owner_id uuid,
        team_id uuid,
        survivor_id uuid NOT NULL,
        merged_ids uuid[] NOT NULL,
        state text NOT NULL CHECK (state IN ('MERGED', 'UNDONE')),
        undo_end_time timestamptz NOT NULL,
        undo_time timestamptz,
        kept jsonb NOT NULL,
        CHECK ((state = 'UNDONE') = (undo_time IS NOT NULL))
    """,
}


def upgrade() -> None:
    for table, columns in _TABLES.items():
        op.execute(f"CREATE TABLE {table} ({_RECORD}{columns})")
        protect(table)
    op.execute("CREATE INDEX lead_captures_of_lead ON lead_captures (tenant_id, lead_id, created_at, id)")
    for column in ("created_at", "updated_at"):
        op.execute(
            f"CREATE INDEX lead_merges_{column} ON lead_merges (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    op.execute("CREATE INDEX lead_merges_survivor ON lead_merges (tenant_id, survivor_id)")
    op.execute(
        """ALTER TABLE leads
            ADD COLUMN referrer text NOT NULL DEFAULT '',
            ADD COLUMN landing_page text NOT NULL DEFAULT '',
            ADD COLUMN click_id text NOT NULL DEFAULT '',
            ADD COLUMN utm_source text NOT NULL DEFAULT '',
            ADD COLUMN utm_medium text NOT NULL DEFAULT '',
            ADD COLUMN utm_campaign text NOT NULL DEFAULT '',
            ADD COLUMN capture_count integer NOT NULL DEFAULT 0,
            ADD COLUMN last_capture_time timestamptz,
            ADD COLUMN last_source text NOT NULL DEFAULT '',
            ADD COLUMN last_campaign_id uuid,
            ADD COLUMN duplicate_of_lead_id uuid,
            ADD COLUMN duplicate_of_customer_id uuid,
            ADD COLUMN duplicate_of_contact_id uuid"""
    )
    op.execute("ALTER TABLE lead_handling ADD COLUMN repeat_days integer NOT NULL DEFAULT 0")
    # What leads from before have among their UTM parameters, filters are to find, too.
    owner = owner_role()
    op.execute(f"CREATE POLICY filling ON leads FOR UPDATE TO {owner} USING (true) WITH CHECK (true)")
    op.execute(
        "UPDATE leads SET utm_source = coalesce(utm ->> 'source', ''), utm_medium = coalesce(utm ->> 'medium', ''),"
        " utm_campaign = coalesce(utm ->> 'campaign', '') WHERE utm <> '{}'"
    )
    op.execute("DROP POLICY filling ON leads")
    install_home_country()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
