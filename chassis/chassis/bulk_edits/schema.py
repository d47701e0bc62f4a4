"""The tables of bulk edits in a service's database; called from its migrations."""

from alembic import op

from chassis.schema import protect


def add_actions() -> None:
    """What edits need that do something else with records than to change fields of them."""
    op.execute(
        "ALTER TABLE bulk_edits ADD COLUMN action text NOT NULL DEFAULT '', ADD COLUMN reason text NOT NULL DEFAULT '',"
        " ADD COLUMN note text NOT NULL DEFAULT ''"
    )


def install_bulk_edits() -> None:
    """Makes the tables of edits, and of what each did to which record."""
    for statement in _TABLES:
        op.execute(statement)
    for table in ("bulk_edits", "bulk_edit_records"):
        protect(table)


_TABLES = (
    """CREATE TABLE bulk_edits (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        kind text NOT NULL,
        filter text NOT NULL,
        given jsonb NOT NULL,
        fields text[] NOT NULL,
        add_tags text[] NOT NULL,
        remove_tags text[] NOT NULL,
        new_owner_id uuid,
        new_team_id uuid,
        started_as jsonb NOT NULL,
        state text NOT NULL CHECK (state IN ('RUNNING', 'SUCCEEDED', 'CANCELLED', 'FAILED')),
        total_records integer NOT NULL,
        processed_records integer NOT NULL,
        changed_records integer NOT NULL,
        unchanged_records integer NOT NULL,
        refused_records integer NOT NULL,
        ended_at timestamptz,
        failures integer NOT NULL,
        failed_at integer NOT NULL,
        failure_reason text NOT NULL,
        failure_message text NOT NULL,
        undo_state text NOT NULL CHECK (undo_state IN ('', 'UNDOING', 'UNDONE')),
        undo_as jsonb NOT NULL,
        undone_records integer NOT NULL,
        kept_records integer NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CHECK (processed_records = changed_records + unchanged_records + refused_records),
        CHECK (processed_records <= total_records),
        CHECK (state <> 'SUCCEEDED' OR processed_records = total_records),
        CHECK (undone_records + kept_records <= changed_records)
    )""",
    "CREATE INDEX bulk_edits_created ON bulk_edits (tenant_id, created_at, id) WHERE deleted_at IS NULL",
    "CREATE INDEX bulk_edits_running ON bulk_edits (tenant_id) WHERE state = 'RUNNING'",
    """CREATE TABLE bulk_edit_records (
        tenant_id uuid NOT NULL,
        bulk_edit_id uuid NOT NULL,
        place integer NOT NULL,
        record_id uuid NOT NULL,
        state text NOT NULL CHECK (state IN ('WAITING', 'CHANGED', 'UNCHANGED', 'REFUSED', 'UNDONE', 'KEPT')),
        changes jsonb NOT NULL,
        reason text NOT NULL,
        message text NOT NULL,
        PRIMARY KEY (tenant_id, bulk_edit_id, place),
        FOREIGN KEY (tenant_id, bulk_edit_id) REFERENCES bulk_edits (tenant_id, id)
    )""",
    """CREATE INDEX bulk_edit_records_changed ON bulk_edit_records (tenant_id, bulk_edit_id, place)
        WHERE state = 'CHANGED'""",
)
