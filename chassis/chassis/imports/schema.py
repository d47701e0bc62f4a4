"""The tables of imports in a service's database; called from its migrations."""

from alembic import op

from chassis.schema import protect


def install_import_tables() -> None:
    """Makes the tables of imports; called from a service's migration."""
    for statement in _TABLES:
        op.execute(statement)
    for table in ("import_runs", "import_files", "import_refused_rows"):
        protect(table)


def add_import_options() -> None:
    """For databases made before an import knew its currency and its owner's team; does nothing to others."""
    op.execute(
        "ALTER TABLE import_runs ADD COLUMN IF NOT EXISTS currency_code text NOT NULL DEFAULT '',"
        " ADD COLUMN IF NOT EXISTS records_team_id uuid"
    )


def add_time_zone() -> None:
    """What an import needs that reads times as they are where the company is."""
    op.execute("ALTER TABLE import_runs ADD COLUMN time_zone text NOT NULL DEFAULT ''")


def widen_imports() -> None:
    """What an import needs that knows duplicates, remembers mappings and can be undone."""
    for statement in _WIDER:
        op.execute(statement)
    for table in ("import_effects", "import_mappings"):
        protect(table)


_WIDER = (
    """ALTER TABLE import_runs
        ADD COLUMN duplicates text NOT NULL DEFAULT '',
        ADD COLUMN remembered boolean NOT NULL DEFAULT false,
        ADD COLUMN proposed_words jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN words jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN unknown jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN skipped_rows integer NOT NULL DEFAULT 0,
        ADD COLUMN undo_as jsonb NOT NULL DEFAULT '{}',
        ADD COLUMN undone_records integer NOT NULL DEFAULT 0,
        ADD COLUMN kept_records integer NOT NULL DEFAULT 0,
        ADD COLUMN updates_only boolean NOT NULL DEFAULT false,
        ADD COLUMN undo_state text NOT NULL DEFAULT ''""",
    # Rows that are there have the defaults: the rule holds for them without a look.
    """ALTER TABLE import_runs ADD CONSTRAINT import_runs_exchange_check
        CHECK (duplicates IN ('', 'SKIP', 'MERGE', 'CREATE') AND skipped_rows <= unchanged_rows
            AND undo_state IN ('', 'UNDOING', 'UNDONE')) NOT VALID""",
    """CREATE TABLE import_effects (
        tenant_id uuid NOT NULL,
        import_id uuid NOT NULL,
        record_id uuid NOT NULL,
        row_number integer NOT NULL,
        effect text NOT NULL CHECK (effect IN ('CREATED', 'UPDATED')),
        version integer NOT NULL,
        changes jsonb NOT NULL,
        touched boolean NOT NULL,
        state text NOT NULL CHECK (state IN ('DONE', 'UNDONE', 'KEPT')),
        reason text NOT NULL,
        message text NOT NULL,
        PRIMARY KEY (tenant_id, import_id, record_id),
        FOREIGN KEY (tenant_id, import_id) REFERENCES import_runs (tenant_id, id)
    )""",
    "CREATE INDEX import_effects_left ON import_effects (tenant_id, import_id, row_number) WHERE state = 'DONE'",
    """CREATE TABLE import_mappings (
        tenant_id uuid NOT NULL,
        kind text NOT NULL,
        headers text NOT NULL,
        fields jsonb NOT NULL,
        words jsonb NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        PRIMARY KEY (tenant_id, kind, headers)
    )""",
)


_TABLES = (
    """CREATE TABLE import_runs (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        kind text NOT NULL,
        filename text NOT NULL,
        file_size bigint NOT NULL,
        file_hash text NOT NULL,
        state text NOT NULL CHECK (state IN ('READY', 'RUNNING', 'SUCCEEDED', 'CANCELLED', 'FAILED')),
        encoding text NOT NULL,
        delimiter text NOT NULL,
        sheet text NOT NULL,
        sheets jsonb NOT NULL,
        columns jsonb NOT NULL,
        proposed jsonb NOT NULL,
        mapping jsonb NOT NULL,
        orders jsonb NOT NULL,
        preview jsonb NOT NULL,
        mode text NOT NULL CHECK (mode IN ('', 'CREATE', 'UPSERT')),
        records_owner_id uuid,
        records_team_id uuid,
        currency_code text NOT NULL,
        started_by uuid,
        started_name text NOT NULL,
        rights jsonb NOT NULL,
        team_id uuid,
        team_ids jsonb NOT NULL,
        total_rows integer NOT NULL,
        processed_rows integer NOT NULL,
        created_rows integer NOT NULL,
        updated_rows integer NOT NULL,
        unchanged_rows integer NOT NULL,
        refused_rows integer NOT NULL,
        repaired_rows integer NOT NULL,
        started_at timestamptz,
        ended_at timestamptz,
        failure_reason text NOT NULL,
        failure_message text NOT NULL,
        failures integer NOT NULL,
        failed_at integer NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CHECK (processed_rows = created_rows + updated_rows + unchanged_rows + refused_rows),
        CHECK (repaired_rows <= created_rows + updated_rows + unchanged_rows),
        CHECK (processed_rows <= total_rows),
        CHECK (state <> 'SUCCEEDED' OR processed_rows = total_rows)
    )""",
    "CREATE INDEX import_runs_created ON import_runs (tenant_id, created_at, id) WHERE deleted_at IS NULL",
    """CREATE TABLE import_files (
        tenant_id uuid NOT NULL,
        import_id uuid NOT NULL,
        packed bytea NOT NULL,
        PRIMARY KEY (tenant_id, import_id),
        FOREIGN KEY (tenant_id, import_id) REFERENCES import_runs (tenant_id, id)
    )""",
    """CREATE TABLE import_refused_rows (
        tenant_id uuid NOT NULL,
        import_id uuid NOT NULL,
        row_number integer NOT NULL,
        cells jsonb NOT NULL,
        problems jsonb NOT NULL,
        PRIMARY KEY (tenant_id, import_id, row_number),
        FOREIGN KEY (tenant_id, import_id) REFERENCES import_runs (tenant_id, id)
    )""",
)
