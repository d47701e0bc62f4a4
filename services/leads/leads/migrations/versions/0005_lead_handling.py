"""Rules of assignment, absences, acceptance and the pool; cadences; scores by rules."""

from alembic import op

from chassis.schema import protect

revision = "0005"
down_revision = "0004"
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
    "assignment_rules": """
        name text NOT NULL,
        position integer NOT NULL,
        active boolean NOT NULL,
        condition text NOT NULL,
        default_rule boolean NOT NULL,
        distribution text NOT NULL CHECK (distribution IN ('ROUND_ROBIN', 'LEAST_LOADED')),
        person_ids uuid[] NOT NULL,
        team_id uuid,
        open_lead_limit integer NOT NULL CHECK (open_lead_limit >= 0),
        accept_minutes integer NOT NULL CHECK (accept_minutes >= 0),
        last_person_id uuid,
        turn_order uuid[] NOT NULL,
        given_count bigint NOT NULL,
        CHECK ((person_ids = '{}') = (team_id IS NOT NULL)),
        CHECK (NOT default_rule OR condition = '')
    """,
    "absences": """
        owner_id uuid NOT NULL,
        team_id uuid,
        from_time timestamptz NOT NULL,
        until_time timestamptz NOT NULL,
        note text NOT NULL,
        CHECK (from_time < until_time)
    """,
    "lead_handling": """
        assign_captured boolean NOT NULL,
        assign_created boolean NOT NULL,
        assign_imported boolean NOT NULL,
        max_offers integer NOT NULL CHECK (max_offers >= 0),
        reclaim_idle_days integer NOT NULL CHECK (reclaim_idle_days >= 0),
        reclaim_warning_days integer NOT NULL CHECK (reclaim_warning_days >= 0),
        reclaim_condition text NOT NULL,
        claim_limit integer NOT NULL CHECK (claim_limit >= 0),
        claim_pause_hours integer NOT NULL CHECK (claim_pause_hours >= 0)
    """,
    "cadences": """
        name text NOT NULL,
        active boolean NOT NULL,
        automatic boolean NOT NULL,
        condition text NOT NULL,
        position integer NOT NULL,
        steps jsonb NOT NULL CHECK (jsonb_array_length(steps) > 0)
    """,
    "lead_touches": """
        lead_id uuid NOT NULL,
        cadence_id uuid NOT NULL,
        step integer NOT NULL CHECK (step > 0),
        channel text NOT NULL,
        due_time timestamptz,
        outcome text NOT NULL CHECK (outcome IN ('REACHED', 'SENT', 'NO_ANSWER', 'SKIPPED')),
        note text NOT NULL,
        FOREIGN KEY (tenant_id, lead_id) REFERENCES leads (tenant_id, id),
        FOREIGN KEY (tenant_id, cadence_id) REFERENCES cadences (tenant_id, id)
    """,
    "score_rules": """
        name text NOT NULL,
        position integer NOT NULL,
        active boolean NOT NULL,
        condition text NOT NULL,
        points integer NOT NULL CHECK (points BETWEEN -100 AND 100)
    """,
    "score_runs": """
        pending boolean NOT NULL,
        after_id uuid
    """,
}


def upgrade() -> None:
    for table, columns in _TABLES.items():
        op.execute(f"CREATE TABLE {table} ({_RECORD}{columns})")
        protect(table)
    op.execute(
        "CREATE UNIQUE INDEX assignment_rules_default ON assignment_rules (tenant_id)"
        " WHERE default_rule AND deleted_at IS NULL"
    )
    op.execute("CREATE INDEX absences_until ON absences (tenant_id, until_time) WHERE deleted_at IS NULL")
    for table in ("assignment_rules", "cadences", "score_rules"):
        op.execute(
            f"CREATE INDEX {table}_position ON {table} (tenant_id, position, id) WHERE deleted_at IS NULL"
        )
    op.execute(
        "CREATE INDEX absences_from_time ON absences (tenant_id, from_time, id) WHERE deleted_at IS NULL"
    )
    op.execute("CREATE INDEX lead_touches_of_lead ON lead_touches (tenant_id, lead_id, created_at, id)")
    op.execute(
        """ALTER TABLE leads
            ADD COLUMN assignment_cause text NOT NULL DEFAULT '',
            ADD COLUMN assignment_rule_id uuid,
            ADD COLUMN assignment_rule_name text NOT NULL DEFAULT '',
            ADD COLUMN acceptance text NOT NULL DEFAULT '',
            ADD COLUMN accept_until_time timestamptz,
            ADD COLUMN offered_to uuid[] NOT NULL DEFAULT '{}',
            ADD COLUMN offer_count integer NOT NULL DEFAULT 0,
            ADD COLUMN previous_owner_id uuid,
            ADD COLUMN touch_time timestamptz,
            ADD COLUMN reclaim_time timestamptz,
            ADD COLUMN pool_time timestamptz,
            ADD COLUMN return_reason text NOT NULL DEFAULT '',
            ADD COLUMN cadence_id uuid,
            ADD COLUMN cadence_step integer NOT NULL DEFAULT 0,
            ADD COLUMN next_contact_channel text NOT NULL DEFAULT '',
            ADD COLUMN score_points integer NOT NULL DEFAULT 0,
            ADD COLUMN score_adjustment integer NOT NULL DEFAULT 0"""
    )
    op.execute(
        "ALTER TABLE leads ADD CONSTRAINT leads_acceptance CHECK"
        " (acceptance IN ('', 'PENDING', 'ACCEPTED') AND (acceptance = 'PENDING') = (accept_until_time IS NOT NULL))"
        " NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
