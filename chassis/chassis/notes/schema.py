"""The table of notes in a service's database; called from its migrations."""

from alembic import op

from chassis.schema import protect


def install_notes() -> None:
    """Makes the table of notes."""
    op.execute(
        """CREATE TABLE notes (
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
        text text NOT NULL CHECK (text <> ''),
        pinned boolean NOT NULL,
        mentioned_ids uuid[] NOT NULL,
        edit_time timestamptz,
        author_name text NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )"""
    )
    op.execute(
        "CREATE INDEX notes_of_record ON notes (tenant_id, of_type, record_id, created_at, id) WHERE deleted_at IS NULL"
    )
    protect("notes")
