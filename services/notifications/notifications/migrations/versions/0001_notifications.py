"""Inboxes and what is in them, what caused it, what their people want to be told, and reminders."""

from alembic import op

from chassis.schema import install_chassis_tables, install_following_tables, protect

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
_KINDS = "('ASSIGNED', 'MENTIONED', 'DUE', 'POOL')"
_NOTIFICATIONS = f"""
    person_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN {_KINDS}),
    wording text NOT NULL CHECK (wording <> ''),
    spoken_of jsonb NOT NULL,
    about_type text NOT NULL,
    about_id uuid,
    actor_id uuid,
    actor_name text NOT NULL,
    due_time timestamptz,
    record_count integer NOT NULL CHECK (record_count > 0),
    unread boolean NOT NULL,
    read_time timestamptz,
    archived boolean NOT NULL,
    archive_time timestamptz,
    CHECK (unread = (read_time IS NULL)),
    CHECK (archived = (archive_time IS NOT NULL))
"""
_CAUSES = """
    tenant_id uuid NOT NULL,
    event_id uuid NOT NULL,
    person_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, event_id, person_id)
"""
_LOCALES = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    language_code text NOT NULL,
    time_zone text NOT NULL,
    version integer NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, id)
"""
_REMINDERS = """
    tenant_id uuid NOT NULL,
    activity_id uuid NOT NULL,
    version integer NOT NULL,
    person_id uuid NOT NULL,
    subject text NOT NULL,
    about_ids uuid[] NOT NULL DEFAULT '{}',
    due_time timestamptz NOT NULL,
    waiting boolean NOT NULL,
    told_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, activity_id)
"""


def upgrade() -> None:
    op.execute(f"CREATE TABLE inboxes ({_RECORD} unread_count integer NOT NULL CHECK (unread_count >= 0))")
    op.execute(f"CREATE TABLE preferences ({_RECORD} muted_kinds text[] NOT NULL)")
    op.execute(f"CREATE TABLE notifications ({_RECORD}{_NOTIFICATIONS})")
    op.execute(f"CREATE TABLE causes ({_CAUSES})")
    op.execute(f"CREATE TABLE locales ({_LOCALES})")
    op.execute(f"CREATE TABLE reminders ({_REMINDERS})")
    op.execute(
        "CREATE INDEX notifications_inbox ON notifications (tenant_id, person_id, archived, created_at, id)"
        " WHERE deleted_at IS NULL"
    )
    op.execute(
        "CREATE INDEX notifications_unread ON notifications (tenant_id, person_id, archived, unread, created_at, id)"
        " WHERE deleted_at IS NULL"
    )
    op.execute(
        "CREATE INDEX notifications_about ON notifications (tenant_id, about_id) WHERE about_id IS NOT NULL"
    )
    op.execute("CREATE INDEX notifications_created ON notifications (tenant_id, created_at)")
    op.execute("CREATE INDEX causes_created ON causes (tenant_id, created_at)")
    op.execute("CREATE INDEX reminders_told ON reminders (tenant_id, told_at) WHERE NOT waiting")
    for table in ("inboxes", "preferences", "notifications", "causes", "locales", "reminders"):
        protect(table)
    install_chassis_tables()
    install_following_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
