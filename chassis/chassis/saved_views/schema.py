"""The tables of saved views in a service's database; called from its migrations."""

from alembic import op

from chassis.schema import protect


def install_saved_views() -> None:
    """Makes the tables of views, and of who begins with which."""
    for statement in _TABLES:
        op.execute(statement)
    for table in ("saved_views", "saved_view_defaults"):
        protect(table)


_TABLES = (
    """CREATE TABLE saved_views (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        owner_id uuid NOT NULL,
        of_type text NOT NULL,
        display_name text NOT NULL CHECK (display_name <> ''),
        filter text NOT NULL,
        columns text[] NOT NULL,
        order_by text NOT NULL,
        sharing text NOT NULL CHECK (sharing IN ('NOBODY', 'TEAM', 'EVERYONE')),
        shared_team_id uuid,
        position integer NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CHECK ((sharing = 'TEAM') = (shared_team_id IS NOT NULL))
    )""",
    """CREATE UNIQUE INDEX saved_views_name ON saved_views (tenant_id, owner_id, of_type, lower(display_name))
        WHERE deleted_at IS NULL""",
    """CREATE INDEX saved_views_position ON saved_views (tenant_id, position, display_name, id)
        WHERE deleted_at IS NULL""",
    """CREATE TABLE saved_view_defaults (
        tenant_id uuid NOT NULL,
        person_id uuid NOT NULL,
        of_type text NOT NULL,
        view_id uuid NOT NULL,
        PRIMARY KEY (tenant_id, person_id, of_type),
        FOREIGN KEY (tenant_id, view_id) REFERENCES saved_views (tenant_id, id)
    )""",
    "CREATE INDEX saved_view_defaults_view ON saved_view_defaults (tenant_id, view_id)",
)
