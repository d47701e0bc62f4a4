"""The tables of value lists in a service's database; called from its migrations."""

from alembic import op

from chassis.schema import TENANT, protect


def install_value_lists() -> None:
    """Makes the tables of lists. Tenants need no rows in them: what they have not changed is what the service says."""
    for statement in _TABLES:
        op.execute(statement)
    for table in ("value_lists", "value_list_sets"):
        protect(table)


_TABLES = (
    """CREATE TABLE value_lists (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        list_key text NOT NULL,
        accepts_others boolean NOT NULL,
        items jsonb NOT NULL,
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, list_key)
    )""",
    """CREATE TABLE value_list_sets (
        tenant_id uuid NOT NULL,
        version bigint NOT NULL,
        PRIMARY KEY (tenant_id)
    )""",
    f"""CREATE FUNCTION value_lists_lock() RETURNS bigint LANGUAGE sql STABLE
        RETURN hashtextextended('value lists ' || coalesce(({TENANT})::text, ''), 0)""",
    # The version is read by a statement of its own behind the lock: one that has begun before does not see what the
    # lock was waiting for.
    """CREATE FUNCTION value_lists_version() RETURNS bigint LANGUAGE plpgsql VOLATILE
        AS $$ BEGIN
            PERFORM pg_advisory_xact_lock_shared(value_lists_lock());
            RETURN coalesce((SELECT s.version FROM value_list_sets s), 0);
        END $$""",
)
