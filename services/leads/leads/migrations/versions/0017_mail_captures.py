"""Mailboxes whose mails become leads, and which mails were taken in."""

from alembic import op

from chassis.schema import protect

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_SOURCES = """CREATE TABLE mail_captures (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    name text NOT NULL,
    host text NOT NULL,
    port integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    security text NOT NULL CHECK (security IN ('TLS', 'STARTTLS', 'PLAIN')),
    user_name text NOT NULL,
    sealed_password bytea NOT NULL,
    folder text NOT NULL,
    address text NOT NULL,
    active boolean NOT NULL,
    poll_minutes integer NOT NULL CHECK (poll_minutes > 0),
    lead_owner_id uuid NOT NULL,
    lead_team_id uuid,
    campaign_id uuid,
    from_beginning boolean NOT NULL,
    uid_validity bigint NOT NULL,
    last_uid bigint NOT NULL,
    last_poll_time timestamptz,
    last_success_time timestamptz,
    next_poll_time timestamptz,
    failure_count integer NOT NULL,
    failure_reason text NOT NULL,
    failure_message text NOT NULL,
    mail_count integer NOT NULL,
    lead_count integer NOT NULL,
    PRIMARY KEY (tenant_id, id)
)"""
_MAILS = """CREATE TABLE captured_mails (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    mail_capture_id uuid NOT NULL,
    mail_key text NOT NULL,
    lead_id uuid,
    outcome text NOT NULL CHECK (outcome IN ('LEAD', 'TOUCH', 'REPLY', 'AUTOMATIC', 'BOUNCE', 'OWN', 'EMPTY')),
    taken_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, mail_capture_id) REFERENCES mail_captures (tenant_id, id),
    FOREIGN KEY (tenant_id, lead_id) REFERENCES leads (tenant_id, id)
)"""


def upgrade() -> None:
    op.execute(_SOURCES)
    op.execute(_MAILS)
    op.execute(
        "CREATE INDEX mail_captures_name ON mail_captures (tenant_id, name, id) WHERE deleted_at IS NULL"
    )
    op.execute("CREATE INDEX captured_mails_key ON captured_mails (tenant_id, mail_key)")
    op.execute(
        "CREATE INDEX captured_mails_lead ON captured_mails (tenant_id, lead_id) WHERE lead_id IS NOT NULL"
    )
    protect("mail_captures")
    protect("captured_mails")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
