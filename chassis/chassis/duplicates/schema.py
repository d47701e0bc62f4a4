"""The tables of sweeps and pairs in a service's database; called from its migrations."""

from alembic import op

from chassis.schema import protect


def install_duplicate_sweeps() -> None:
    """Makes the tables of sweeps, of the pairs that they find or that somebody sets aside, and of what sets a pair aside by
    itself."""
    for statement in _TABLES:
        op.execute(statement)
    for table in ("duplicate_sweeps", "duplicate_pairs", "duplicate_pair_origins"):
        protect(table)


_TABLES = (
    """CREATE TABLE duplicate_sweeps (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        kind text NOT NULL,
        state text NOT NULL CHECK (state IN ('RUNNING', 'SUCCEEDED', 'CANCELLED', 'FAILED')),
        total_records integer NOT NULL,
        processed_records integer NOT NULL,
        last_id uuid NOT NULL,
        found_pairs integer NOT NULL,
        new_pairs integer NOT NULL,
        set_aside_pairs integer NOT NULL,
        frequent jsonb NOT NULL,
        frequent_values integer NOT NULL,
        ended_at timestamptz,
        failures integer NOT NULL,
        failed_at integer NOT NULL,
        failure_reason text NOT NULL,
        failure_message text NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE INDEX duplicate_sweeps_created ON duplicate_sweeps (tenant_id, created_at, id) WHERE deleted_at IS NULL",
    "CREATE UNIQUE INDEX duplicate_sweeps_running ON duplicate_sweeps (tenant_id, kind) WHERE state = 'RUNNING'",
    """CREATE TABLE duplicate_pairs (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        kind text NOT NULL,
        first_id uuid NOT NULL,
        second_id uuid NOT NULL,
        first_at uuid NOT NULL,
        second_at uuid NOT NULL,
        score integer NOT NULL CHECK (score BETWEEN 0 AND 100),
        reasons text[] NOT NULL,
        state text NOT NULL CHECK (state IN ('OPEN', 'SET_ASIDE', 'MERGED')),
        state_before text NOT NULL CHECK (state_before IN ('', 'OPEN', 'SET_ASIDE')),
        sweep_id uuid,
        set_aside_by uuid,
        set_aside_at timestamptz,
        merged_by uuid,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT duplicate_pairs_once UNIQUE (tenant_id, kind, first_id, second_id),
        CHECK (first_id < second_id),
        CHECK ((state = 'MERGED') = (merged_by IS NOT NULL))
    )""",
    "CREATE INDEX duplicate_pairs_listed ON duplicate_pairs (tenant_id, kind, state, score, id) WHERE deleted_at IS NULL",
    "CREATE INDEX duplicate_pairs_second ON duplicate_pairs (tenant_id, kind, second_id)",
    "CREATE INDEX duplicate_pairs_merged ON duplicate_pairs (tenant_id, merged_by) WHERE merged_by IS NOT NULL",
    """CREATE TABLE duplicate_pair_origins (
        tenant_id uuid NOT NULL,
        pair_id uuid NOT NULL,
        merge_id uuid NOT NULL,
        from_id uuid NOT NULL,
        PRIMARY KEY (tenant_id, pair_id, merge_id, from_id),
        FOREIGN KEY (tenant_id, pair_id) REFERENCES duplicate_pairs (tenant_id, id) ON DELETE CASCADE
    )""",
    "CREATE INDEX duplicate_pair_origins_merge ON duplicate_pair_origins (tenant_id, merge_id)",
    "CREATE INDEX duplicate_pair_origins_from ON duplicate_pair_origins (tenant_id, from_id)",
)
