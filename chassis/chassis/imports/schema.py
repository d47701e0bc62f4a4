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
