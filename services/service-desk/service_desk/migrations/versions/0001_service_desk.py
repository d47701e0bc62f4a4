"""Tickets, what was said about them, and the counter of their numbers."""

from alembic import op

from chassis.schema import add_search, install_chassis_tables, protect

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
_TICKETS = """
    owner_id uuid,
    team_id uuid,
    search integer[] NOT NULL,
    search_text text NOT NULL,
    number text NOT NULL CHECK (number <> ''),
    subject text NOT NULL CHECK (subject <> ''),
    description text NOT NULL,
    customer_id uuid,
    contact_id uuid,
    customer_name text NOT NULL,
    contact_name text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('PHONE', 'EMAIL', 'WEB', 'CHAT', 'VISIT')),
    priority text NOT NULL CHECK (priority IN ('LOW', 'NORMAL', 'HIGH', 'URGENT')),
    urgency smallint NOT NULL CHECK (urgency = array_position(ARRAY['LOW', 'NORMAL', 'HIGH', 'URGENT'], priority)),
    status text NOT NULL CHECK (status IN ('NEW', 'OPEN', 'PENDING', 'RESOLVED', 'CLOSED')),
    category text NOT NULL,
    tags text[] NOT NULL,
    requester_name text NOT NULL,
    requester_phone text NOT NULL,
    requester_email text NOT NULL,
    order_id uuid,
    product_id uuid,
    assign_time timestamptz,
    first_response_time timestamptz,
    resolve_time timestamptz,
    close_time timestamptz,
    reopen_count integer NOT NULL,
    resolution text NOT NULL,
    pend_reason text NOT NULL,
    reply_count integer NOT NULL,
    external_key text NOT NULL,
    CHECK (contact_id IS NULL OR customer_id IS NOT NULL),
    CHECK ((status IN ('RESOLVED', 'CLOSED')) = (resolve_time IS NOT NULL)),
    CHECK ((status = 'CLOSED') = (close_time IS NOT NULL)),
    CHECK ((status = 'PENDING') = (pend_reason <> ''))
"""
_COMMENTS = """
    ticket_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('REPLY', 'CUSTOMER_MESSAGE', 'NOTE')),
    body text NOT NULL CHECK (body <> ''),
    author_name text NOT NULL,
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES tickets (tenant_id, id)
"""
_COUNTERS = """
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (tenant_id, name)
"""


def upgrade() -> None:
    op.execute(f"CREATE TABLE tickets ({_RECORD}{_TICKETS})")
    op.execute(f"CREATE TABLE ticket_comments ({_RECORD}{_COMMENTS})")
    op.execute(f"CREATE TABLE counters ({_COUNTERS})")
    for column in ("created_at", "updated_at", "urgency", "number", "resolve_time"):
        op.execute(
            f"CREATE INDEX tickets_{column} ON tickets (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    op.execute("CREATE INDEX tickets_owner ON tickets (tenant_id, owner_id) WHERE deleted_at IS NULL")
    op.execute("CREATE INDEX tickets_customer ON tickets (tenant_id, customer_id) WHERE deleted_at IS NULL")
    op.execute(
        "CREATE UNIQUE INDEX tickets_external_key ON tickets (tenant_id, external_key)"
        " WHERE external_key <> '' AND deleted_at IS NULL"
    )
    op.execute("CREATE UNIQUE INDEX tickets_unique_number ON tickets (tenant_id, number)")
    op.execute(
        "CREATE INDEX ticket_comments_ticket ON ticket_comments (tenant_id, ticket_id, created_at, id)"
        " WHERE deleted_at IS NULL"
    )
    for table in ("tickets", "ticket_comments", "counters"):
        protect(table)
    add_search("tickets")
    install_chassis_tables()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
