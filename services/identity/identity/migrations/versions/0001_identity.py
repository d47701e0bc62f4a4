"""Tenants, people, teams, roles, sessions and API keys."""

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

_TABLES = {
    "tenants": """
        name text NOT NULL CHECK (name <> ''),
        slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$'),
        currency_code text NOT NULL,
        time_zone text NOT NULL,
        language_code text NOT NULL,
        CONSTRAINT tenants_own CHECK (tenant_id = id)
    """,
    "teams": """
        name text NOT NULL CHECK (name <> ''),
        parent_id uuid,
        manager_id uuid,
        external_key text NOT NULL,
        FOREIGN KEY (tenant_id, parent_id) REFERENCES teams (tenant_id, id)
    """,
    "roles": """
        name text NOT NULL CHECK (name <> ''),
        description text NOT NULL,
        rights jsonb NOT NULL,
        built_in boolean NOT NULL
    """,
    "people": """
        email text NOT NULL CHECK (email = lower(email) AND email LIKE '%@%'),
        display_name text NOT NULL CHECK (display_name <> ''),
        phone text NOT NULL,
        title text NOT NULL,
        team_id uuid,
        role_ids uuid[] NOT NULL,
        status text NOT NULL CHECK (status IN ('ACTIVE', 'DISABLED')),
        password_hash text NOT NULL,
        must_change_password boolean NOT NULL,
        last_sign_in_time timestamptz,
        language_code text NOT NULL,
        time_zone text NOT NULL,
        disable_time timestamptz,
        external_key text NOT NULL,
        search integer[] NOT NULL,
        search_text text NOT NULL,
        FOREIGN KEY (tenant_id, team_id) REFERENCES teams (tenant_id, id)
    """,
    "sessions": """
        person_id uuid NOT NULL,
        secret_hash bytea NOT NULL,
        spent_hash bytea NOT NULL,
        client_address text NOT NULL,
        user_agent text NOT NULL,
        last_use_time timestamptz NOT NULL,
        expire_time timestamptz NOT NULL,
        end_time timestamptz,
        FOREIGN KEY (tenant_id, person_id) REFERENCES people (tenant_id, id)
    """,
    "api_keys": """
        name text NOT NULL CHECK (name <> ''),
        person_id uuid NOT NULL,
        prefix text NOT NULL,
        secret_hash bytea NOT NULL,
        expire_time timestamptz,
        last_use_time timestamptz,
        revoke_time timestamptz,
        FOREIGN KEY (tenant_id, person_id) REFERENCES people (tenant_id, id)
    """,
}

_INDEXES = (
    # Slugs are unique in the installation: they stand in event subjects.
    "CREATE UNIQUE INDEX tenants_slug ON tenants (slug)",
    "CREATE UNIQUE INDEX people_email ON people (tenant_id, email) WHERE deleted_at IS NULL",
    "CREATE UNIQUE INDEX people_external_key ON people (tenant_id, external_key) WHERE external_key <> '' AND deleted_at IS NULL",
    "CREATE INDEX people_name ON people (tenant_id, display_name, id) WHERE deleted_at IS NULL",
    "CREATE INDEX people_lower_name ON people (tenant_id, lower(display_name))",
    "CREATE INDEX people_team ON people (tenant_id, team_id)",
    "CREATE UNIQUE INDEX teams_name ON teams (tenant_id, coalesce(parent_id, '00000000-0000-0000-0000-000000000000'), name)"
    " WHERE deleted_at IS NULL",
    "CREATE UNIQUE INDEX teams_external_key ON teams (tenant_id, external_key) WHERE external_key <> '' AND deleted_at IS NULL",
    "CREATE INDEX teams_parent ON teams (tenant_id, parent_id)",
    "CREATE UNIQUE INDEX roles_name ON roles (tenant_id, name) WHERE deleted_at IS NULL",
    "CREATE INDEX sessions_person ON sessions (tenant_id, person_id, last_use_time DESC) WHERE end_time IS NULL",
    "CREATE UNIQUE INDEX api_keys_secret ON api_keys (tenant_id, secret_hash)",
    "CREATE INDEX api_keys_person ON api_keys (tenant_id, person_id)",
)


def upgrade() -> None:
    for table, columns in _TABLES.items():
        op.execute(f"CREATE TABLE {table} ({_RECORD}{columns})")
        protect(table)
    for index in _INDEXES:
        op.execute(index)
    op.execute(
        "CREATE TABLE sign_in_failures (tenant_id uuid NOT NULL, key text NOT NULL, failures integer NOT NULL,"
        " began_at timestamptz NOT NULL, PRIMARY KEY (tenant_id, key))"
    )
    protect("sign_in_failures")
    add_search("people")
    install_chassis_tables()
    # Before anybody is signed in no tenant is known: short names are looked up by the relay role, which sees nothing else.
    op.execute("CREATE POLICY directory ON tenants FOR SELECT TO kehu_identity_relay USING (true)")
    op.execute("GRANT SELECT (tenant_id, id, slug, name, currency_code, time_zone, language_code, version,"
        " created_at, created_by,"
               " updated_at, updated_by, deleted_at) ON tenants TO kehu_identity_relay")  # fmt: skip


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
