"""The tables of custom fields in a service's database; called from its migrations."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from alembic import op
from sqlalchemy import text

from chassis.schema import TENANT, build_index, fill, owner_role, protect


def install_custom_fields(*tables: str, ordered: bool = False) -> None:
    """Makes the tables of definitions and of the index, and lets records of `tables` have custom fields. `ordered`: values know
    from the beginning when their records were made; where they were there before they knew, `order_values` tells them."""
    for statement in (*_TABLES, *(_ORDERED if ordered else ())):
        op.execute(statement)
    for table in ("custom_fields", "custom_field_sets", "custom_values"):
        protect(table)
    for table in tables:
        add_custom_fields(table)


def add_custom_fields(table: str) -> None:
    """Lets records of one more table have custom fields."""
    if not table.isidentifier():
        raise ValueError(f"{table!r} is no table name")
    # A constant default is kept in the catalog: no row is written.
    # Composed of a table's name from a migration, checked above.
    op.execute(f"ALTER TABLE {table} ADD COLUMN custom_fields jsonb NOT NULL DEFAULT '{{}}'")


def order_values(*tables: str) -> None:
    """Values of custom fields know when their records of these tables were made, so that a list of those with one value is read
    in its own order, a page at a time.

    Replicas of the version before enter values without it, until they are replaced: then the trigger asks the records.
    """
    owner = owner_role()
    made = ", ".join(
        [f"(SELECT r.created_at FROM {table} AS r WHERE r.id = NEW.record_id)" for table in tables]  # noqa: S608 (tables' names from a migration)
    )
    statements = [
        "ALTER TABLE custom_values ADD COLUMN IF NOT EXISTS created_at timestamptz",
        f"""CREATE OR REPLACE FUNCTION custom_values_created() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN
                NEW.created_at := coalesce({made}, now());
                RETURN NEW;
            END $$""",
        "CREATE OR REPLACE TRIGGER custom_values_created BEFORE INSERT ON custom_values FOR EACH ROW"
        " WHEN (NEW.created_at IS NULL) EXECUTE FUNCTION custom_values_created()",
    ]
    for table in (*tables, "custom_values"):
        statements.append(f"DROP POLICY IF EXISTS widening ON {table}")
        statements.append(f"CREATE POLICY widening ON {table} TO {owner} USING (true) WITH CHECK (true)")
    # Each by itself: nobody waits for the records that are looked through, and a repeat goes on.
    with op.get_context().autocommit_block():
        for statement in statements:
            op.execute(statement)
        if not op.get_context().as_sql:  # where the SQL is only written down, there are no values to look at
            _note_created(tables)
        for table in (*tables, "custom_values"):
            # Composed of tables' names from a migration.
            op.execute(f"DROP POLICY widening ON {table}")
        build_index("custom_values_made", "custom_values (tenant_id, field_id, value, created_at, record_id)")


def install_custom_references(*tables: str) -> None:
    """Makes what says which records' custom fields name a record, and keeps it for records of these tables."""
    op.execute(
        "CREATE TABLE custom_references (tenant_id uuid NOT NULL, referred_id uuid NOT NULL, of_table text NOT NULL,"
        " record_id uuid NOT NULL, key text NOT NULL,"
        " PRIMARY KEY (tenant_id, referred_id, of_table, record_id, key))"
    )
    op.execute("CREATE INDEX custom_references_record ON custom_references (tenant_id, record_id)")
    protect("custom_references")
    # By what the values look like, and not by definitions, which may change: whoever reads it asks those. So replicas of the
    # version before keep it as well.
    op.execute(
        f"""CREATE FUNCTION custom_references_kept() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN
                IF TG_OP = 'UPDATE' THEN
                    DELETE FROM custom_references WHERE tenant_id = NEW.tenant_id AND record_id = NEW.id;
                END IF;
                INSERT INTO custom_references (tenant_id, referred_id, of_table, record_id, key)
                    SELECT NEW.tenant_id, v.value::uuid, TG_TABLE_NAME, NEW.id, v.key
                    FROM jsonb_each_text(NEW.custom_fields) AS v WHERE v.value ~ '^{_ID}$';
                RETURN NULL;
            END $$"""  # noqa: S608 (a constant of this file)
    )
    for table in tables:
        add_custom_references(table)


def add_custom_references(table: str) -> None:
    """Keeps it for records of one more table."""
    if not table.isidentifier():
        raise ValueError(f"{table!r} is no table name")
    for event, such in (
        ("INSERT", f" WHEN (NEW.custom_fields::text ~ '{_ID}')"),
        ("UPDATE OF custom_fields", ""),
    ):
        name = f"custom_references_{event.split()[0].lower()}"
        # Composed of a table's name from a migration, checked above, and constants.
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW{such}"
            " EXECUTE FUNCTION custom_references_kept()"
        )


def fill_custom_references(*tables: str) -> None:
    """For tables whose records had custom fields before: what these name is known as well. In a migration of its own.

    The trigger writes as whoever changes the record: a later migration that changes `custom_fields` as the owner opens
    `custom_references` to them as this does, or row security refuses it.
    """
    owner = owner_role()
    with op.get_context().autocommit_block():
        op.execute("DROP POLICY IF EXISTS widening ON custom_references")
        # Composed of the owner's name.
        op.execute(f"CREATE POLICY widening ON custom_references TO {owner} USING (true) WITH CHECK (true)")
        for table in tables:
            fill(table, "custom_fields = custom_fields", f"custom_fields::text ~ '{_ID}'")
        op.execute("DROP POLICY widening ON custom_references")


_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""An id as values hold it."""
AT_ONCE = 1000
"""Values whose rows are locked together, for less than writers wait."""
_KEY = "(v.tenant_id, v.field_id, v.record_id, v.place)"


def _note_created(tables: Sequence[str]) -> None:
    connection = op.get_bind()
    made = ", ".join(
        f"(SELECT r.created_at FROM {table} AS r WHERE r.tenant_id = v.tenant_id AND r.id = v.record_id)"  # noqa: S608 (likewise)
        for table in tables
    )
    beyond = f"{_KEY} > (CAST(:tenant AS uuid), CAST(:field AS uuid), CAST(:record AS uuid), CAST(:place AS integer))"
    some = text(
        "SELECT tenant_id AS tenant, field_id AS field, record_id AS record, place FROM custom_values AS v"  # noqa: S608 (constants)
        f" WHERE {beyond} AND created_at IS NULL ORDER BY tenant_id, field_id, record_id, place LIMIT {AT_ONCE}"
    )
    change = text(
        f"UPDATE custom_values AS v SET created_at = coalesce({made}) WHERE {beyond} AND created_at IS NULL AND {_KEY}"  # noqa: S608 (likewise)
        " <= (CAST(:to_tenant AS uuid), CAST(:to_field AS uuid), CAST(:to_record AS uuid), CAST(:to_place AS integer))"
    )
    last: dict[str, Any] = {"tenant": UUID(int=0), "field": UUID(int=0), "record": UUID(int=0), "place": -1}
    while found := connection.execute(some, last).mappings().all():
        upto = dict(found[-1])
        connection.execute(change, last | {f"to_{name}": value for name, value in upto.items()})
        last = upto


_TABLES = (
    """CREATE TABLE custom_fields (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        of_type text NOT NULL,
        key text NOT NULL CHECK (key ~ '^[a-z][a-z0-9_]{0,39}$'),
        label_zh text NOT NULL,
        label_en text NOT NULL,
        description text NOT NULL,
        kind text NOT NULL
            CHECK (kind IN ('TEXT', 'NUMBER', 'MONEY', 'DATE', 'CHOICE', 'MULTI_CHOICE', 'YES_NO', 'REFERENCE')),
        required boolean NOT NULL,
        default_value jsonb,
        filterable boolean NOT NULL,
        max_length integer NOT NULL,
        decimals integer,
        reference_type text NOT NULL,
        choices jsonb NOT NULL,
        position integer NOT NULL,
        archived boolean NOT NULL,
        indexed boolean NOT NULL,
        round integer NOT NULL,
        indexed_to uuid,
        PRIMARY KEY (tenant_id, id),
        CHECK (label_zh <> '' OR label_en <> ''),
        CHECK (filterable OR NOT indexed)
    )""",
    "CREATE UNIQUE INDEX custom_fields_key ON custom_fields (tenant_id, of_type, key) WHERE deleted_at IS NULL",
    """CREATE TABLE custom_field_sets (
        tenant_id uuid NOT NULL,
        of_type text NOT NULL,
        version bigint NOT NULL,
        PRIMARY KEY (tenant_id, of_type)
    )""",
    # Byte by byte: the values are written such that this is their order, see chassis.custom_fields.definition.
    """CREATE TABLE custom_values (
        tenant_id uuid NOT NULL,
        field_id uuid NOT NULL,
        record_id uuid NOT NULL,
        place integer NOT NULL,
        value text COLLATE "C" NOT NULL,
        PRIMARY KEY (tenant_id, field_id, record_id, place)
    )""",
    "CREATE INDEX custom_values_value ON custom_values (tenant_id, field_id, value, record_id)",
    f"""CREATE FUNCTION custom_fields_lock(of_type text) RETURNS bigint LANGUAGE sql STABLE
        RETURN hashtextextended('custom fields ' || of_type || ' ' || coalesce(({TENANT})::text, ''), 0)""",
    # The version is read by a statement of its own behind the lock: one that has begun before does not see what the
    # lock was waiting for.
    """CREATE FUNCTION custom_fields_version(of_type text) RETURNS bigint LANGUAGE plpgsql VOLATILE
        AS $$ BEGIN
            PERFORM pg_advisory_xact_lock_shared(custom_fields_lock($1));
            RETURN (SELECT s.version FROM custom_field_sets s WHERE s.of_type = $1);
        END $$""",
)
_ORDERED = (
    "ALTER TABLE custom_values ADD COLUMN created_at timestamptz",
    "CREATE INDEX custom_values_made ON custom_values (tenant_id, field_id, value, created_at, record_id)",
)
