"""The table of files in a service's database; called from its migrations."""

from alembic import op

from chassis.schema import protect


def install_attachments() -> None:
    """Makes the table of files."""
    op.execute(
        """CREATE TABLE attachments (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        of_type text NOT NULL,
        record_id uuid NOT NULL,
        filename text NOT NULL CHECK (filename <> ''),
        content_type text NOT NULL,
        size_bytes bigint NOT NULL CHECK (size_bytes > 0),
        sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
        storage_key text NOT NULL,
        author_name text NOT NULL,
        missing_time timestamptz,
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, storage_key)
    )"""
    )
    op.execute(
        "CREATE INDEX attachments_of_record ON attachments (tenant_id, of_type, record_id, created_at, id)"
        " WHERE deleted_at IS NULL"
    )
    protect("attachments")
