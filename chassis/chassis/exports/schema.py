"""The table of exports in a service's database; called from its migrations, `extend_export_tables` behind the other."""

from alembic import op

from chassis.schema import protect


def install_export_tables() -> None:
    """Makes the log of exports."""
    op.execute(
        """CREATE TABLE exports (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        owner_id uuid NOT NULL,
        team_id uuid,
        owner_name text NOT NULL,
        kind text NOT NULL,
        filename text NOT NULL,
        format text NOT NULL CHECK (format IN ('CSV', 'XLSX')),
        filter text NOT NULL,
        query text NOT NULL,
        order_by text NOT NULL,
        columns text[] NOT NULL,
        state text NOT NULL CHECK (state IN ('RUNNING', 'SUCCEEDED', 'BROKEN_OFF')),
        row_count integer NOT NULL,
        byte_count bigint NOT NULL,
        leased_until timestamptz NOT NULL,
        ended_at timestamptz,
        failure_reason text NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )"""
    )
    op.execute("CREATE INDEX exports_created ON exports (tenant_id, created_at, id) WHERE deleted_at IS NULL")
    op.execute("CREATE INDEX exports_running ON exports (tenant_id) WHERE state = 'RUNNING'")
    protect("exports", app="SELECT, INSERT, UPDATE")


def extend_export_tables() -> None:
    """Lets the log tell of lists that belong to one record, of chosen records, and of cards."""
    op.execute("ALTER TABLE exports ADD COLUMN parent_id uuid, ADD COLUMN ids uuid[] NOT NULL DEFAULT '{}'")
    op.execute(
        "-- squawk-ignore ban-drop-constraint\nALTER TABLE exports DROP CONSTRAINT exports_format_check"
    )
    op.execute(
        "ALTER TABLE exports ADD CONSTRAINT exports_format_check CHECK (format IN ('CSV', 'XLSX', 'ZIP', 'VCARD')) NOT VALID"
    )
