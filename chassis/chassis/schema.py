"""The tables the chassis needs in every service's database, and the protection of all tables.

Called from a service's Alembic migrations, which run as the owner role `kehu_<service>_owner`. The app role (`kehu_<service>`)
and the relay role (`kehu_<service>_relay`) own nothing: the app role sees the rows of the tenant that its transaction has
set and no others; the relay role sees the outbox, jobs and dead letters of all tenants and no other table. Of answers that are
kept for repeats it sees which and how old they are, to clear them away, and not what they say.

Pitfalls, each the reason for a line below: after a commit the setting is '' and not NULL, hence `nullif`; a table's owner is
exempt from row security unless it is FORCEd; unique and foreign keys ignore row security, so they start with `tenant_id`.
"""

from uuid import UUID

from alembic import op
from sqlalchemy import text

from chassis.search import SHOWN, terms, widened

TENANT = "nullif(current_setting('kehu.tenant', true), '')::uuid"
"""The tenant of the running transaction; NULL, and so no row at all, when none was set."""


def owner_role() -> str:
    """The role that runs the migration and owns what it makes. Raises RuntimeError for one of another name."""
    context = op.get_context()
    # Where the SQL is only written down, nobody can be asked.
    told = (
        context.opts["owner"]
        if context.as_sql
        else op.get_bind().execute(text("SELECT current_user")).scalar_one()
    )
    owner = str(told)
    if not owner.endswith("_owner") or not owner.replace("_", "").isalnum():
        raise RuntimeError(f"migrations run as the role kehu_<service>_owner, not as {owner}")
    return owner


def _role(suffix: str) -> str:
    return owner_role().removesuffix("_owner") + suffix


def protect(table: str, *, relay: bool = False, app: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """Forces row-level security on a table and grants the app role what it needs.

    `relay=True` lets the relay role see the rows of all tenants. `app` lists the app role's grants.
    """
    if not table.isidentifier():
        raise ValueError(f"{table!r} is no table name")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON {table} TO {_role('')} "
        f"USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})"
    )
    op.execute(f"GRANT {app} ON {table} TO {_role('')}")
    if relay:
        op.execute(f"CREATE POLICY relay ON {table} TO {_role('_relay')} USING (true) WITH CHECK (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {_role('_relay')}")


def add_search(table: str) -> None:
    """Adds what finds records of a table to its schema, after the table was made. It has the columns of `Searchable`."""
    owner = owner_role()
    _search_function(table)
    op.execute(f"CREATE INDEX {table}_search ON {table} USING gin (search) WHERE deleted_at IS NULL")
    op.execute(
        f"CREATE INDEX {table}_sample ON {table} USING gin (search) WITH (fastupdate = off)"
        f" WHERE deleted_at IS NULL AND {_IN_SAMPLE}"
    )
    op.execute(f"CREATE POLICY search ON {table} FOR SELECT TO {owner} USING (true)")
    _bounded_search_function(table)


def sample_search(*tables: str) -> None:
    """For searchable tables that were made before frequent words were told by a sample: those have it from now on.

    The function of four arguments stays: hits of which some may be hidden are all asked for. The indexes come first, without a
    lock, outside of a transaction.
    """
    with op.get_context().autocommit_block():
        for table in tables:
            where = f"deleted_at IS NULL AND {_IN_SAMPLE}"
            build_index(
                f"{table}_sample", f"{table} USING gin (search) WITH (fastupdate = off) WHERE {where}"
            )
    for table in tables:
        _bounded_search_function(table)


def build_index(index: str, on: str, *, unique: bool = False) -> None:
    """Builds an index of a table in use, outside of a transaction; it may be repeated. One whose building was broken off is begun
    anew: it would count as made, and nothing would ever read it."""
    if not op.get_context().as_sql:
        broken = text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
        if op.get_bind().execute(broken, {"name": index}).first() is not None:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
    # Composed of what a migration says.
    op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY IF NOT EXISTS {index} ON {on}")


def index_deleted_papers() -> None:
    """Indexes by which notes and files that were deleted before their record are found when that is merged or goes. Outside of a
    transaction; it may be repeated."""
    for table in ("notes", "attachments"):
        build_index(
            f"{table}_deleted_of_record",
            f"{table} (tenant_id, of_type, record_id) WHERE deleted_at IS NOT NULL",
        )


_FILLED_AT_ONCE = 1000
"""Rows that are locked together, for less than writers wait."""


def fill(table: str, change: str, where: str) -> None:
    """Changes the rows of a table in use that were there before, as `change` says behind SET; `where` is true of those that lack
    it. Outside of a transaction, some rows at a time: nobody waits for all that are looked through, and a repeat goes on.

    Triggers on the table write as the owner as well: `custom_fields` are changed as `fill_custom_references` does it.
    """
    if not table.isidentifier():
        raise ValueError(f"{table!r} is no table name")
    owner = owner_role()
    op.execute(f"DROP POLICY IF EXISTS widening ON {table}")
    op.execute(f"CREATE POLICY widening ON {table} TO {owner} USING (true) WITH CHECK (true)")
    if not op.get_context().as_sql:  # where the SQL is only written down, there are no rows to look at
        beyond = "(tenant_id, id) > (CAST(:tenant AS uuid), CAST(:id AS uuid))"
        some = text(
            f"SELECT tenant_id AS tenant, id FROM {table} WHERE {beyond}"  # noqa: S608 (a migration names the table, checked above)
            f" ORDER BY tenant_id, id LIMIT {_FILLED_AT_ONCE}"
        )
        changed = text(
            f"UPDATE {table} SET {change} WHERE {beyond}"  # noqa: S608 (likewise, and says what is changed)
            f" AND (tenant_id, id) <= (CAST(:to_tenant AS uuid), CAST(:to_id AS uuid)) AND ({where})"
        )
        connection = op.get_bind()
        last: dict[str, UUID] = {"tenant": UUID(int=0), "id": UUID(int=0)}
        while found := connection.execute(some, last).mappings().all():
            upto: dict[str, UUID] = dict(found[-1])
            connection.execute(changed, last | {f"to_{name}": value for name, value in upto.items()})
            last = upto
    op.execute(f"DROP POLICY widening ON {table}")


def widen_search(table: str) -> None:
    """For tables whose records were made findable before whole texts and long numbers had grams of their own.

    The function of three arguments stays: replicas of the version before ask for it until they are replaced.
    """
    owner = owner_role()
    _search_function(table)
    op.execute(f"CREATE POLICY widening ON {table} FOR UPDATE TO {owner} USING (true) WITH CHECK (true)")
    if not op.get_context().as_sql:  # where the SQL is only written down, there are no records to look at
        _widen_records(table)
    op.execute(f"DROP POLICY widening ON {table}")


def _widen_records(table: str) -> None:
    connection = op.get_bind()
    rows = text(
        f"SELECT tenant_id, id, search, search_text FROM {table}"  # noqa: S608 (a table's name from a migration)
        " WHERE (tenant_id, id) > (:tenant, :id) ORDER BY tenant_id, id LIMIT 5000"
    )
    change = text(f"UPDATE {table} SET search = :search WHERE tenant_id = :tenant AND id = :id")  # noqa: S608 (likewise)
    last = {"tenant": UUID(int=0), "id": UUID(int=0)}
    while found := connection.execute(rows, last).all():
        wide = [
            {"tenant": row.tenant_id, "id": row.id, "search": widened(row.search, row.search_text)}
            for row in found
        ]
        connection.execute(change, wide)
        last = {"tenant": found[-1].tenant_id, "id": found[-1].id}


def find_by_tags(table: str) -> None:
    """For searchable tables whose records were not found by their tags before: those that have some are found by them now."""
    owner = owner_role()
    if op.get_context().as_sql:  # where the SQL is only written down, there are no records to look at
        return
    op.execute(f"CREATE POLICY widening ON {table} FOR UPDATE TO {owner} USING (true) WITH CHECK (true)")
    connection = op.get_bind()
    rows = text(
        f"SELECT tenant_id, id, search, search_text, tags FROM {table}"  # noqa: S608 (a table's name from a migration)
        " WHERE tags <> '{}' AND (tenant_id, id) > (:tenant, :id) ORDER BY tenant_id, id LIMIT 5000"
    )
    change = text(
        f"UPDATE {table} SET search = :search, search_text = :text WHERE tenant_id = :tenant AND id = :id"  # noqa: S608 (likewise)
    )
    last = {"tenant": UUID(int=0), "id": UUID(int=0)}
    while found := connection.execute(rows, last).all():
        widened_by: list[dict[str, object]] = []
        for row in found:
            tags = terms(texts=row.tags)
            lines = dict.fromkeys([*row.search_text.split("\n"), *tags.text.split("\n")])
            lines.pop("", None)
            grams = sorted({*row.search, *tags.grams})
            widened_by.append(
                {"tenant": row.tenant_id, "id": row.id, "search": grams, "text": "\n".join(lines)}
            )
        connection.execute(change, widened_by)
        last = {"tenant": found[-1].tenant_id, "id": found[-1].id}
    op.execute(f"DROP POLICY widening ON {table}")


def _search_function(table: str) -> None:
    """Row-level security lets no index answer an operator that PostgreSQL does not hold for leakproof, and none of the
    array operators is; so the app role would read the whole table. The function runs as the table's owner, asks for the
    tenant of the transaction itself, and gives back nothing but ids and ranks: 1 when a text equals the query, 2 when one
    begins with it, 3 else; no more than `most` of them, all for NULL. Whose rows are seen is decided where it is joined.
    """
    if not table.isidentifier():
        raise ValueError(f"{table!r} is no table name")
    app = _role("")
    op.execute(
        f"""CREATE OR REPLACE FUNCTION {table}_search(grams integer[], words text[], phrase text, most integer)
            RETURNS TABLE (id uuid, rank integer)
            LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE ROWS 100 SET search_path = pg_catalog, public
            AS $$
                SELECT t.id, CASE
                    WHEN strpos(E'\\n' || t.search_text || E'\\n', E'\\n' || phrase || E'\\n') > 0 THEN 1
                    WHEN strpos(E'\\n' || t.search_text, E'\\n' || phrase) > 0 THEN 2
                    ELSE 3 END
                FROM {table} AS t
                WHERE t.search @> grams AND t.deleted_at IS NULL AND t.tenant_id = {TENANT}
                    AND (SELECT bool_and(strpos(t.search_text, word) > 0) FROM unnest(words) AS word)
                LIMIT most
            $$"""  # noqa: S608 (a migration names the table, checked above)
    )
    arguments = "integer[], text[], text, integer"
    op.execute(f"REVOKE ALL ON FUNCTION {table}_search({arguments}) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {table}_search({arguments}) TO {app}")


SAMPLED = 64
"""One record of so many is in the sample."""
# By the id, whose last byte is random: records need not be written for it.
_IN_SAMPLE = f"get_byte(uuid_send(id), 15) < {256 // SAMPLED}"


def _bounded_search_function(table: str) -> None:
    """The same search for a page of hits, whose cost does not grow with the hits: a GIN index tells all of them or none, and of
    a frequent word that alone takes longer than the page. So the hits in a sample are looked at first, by an index of their own.
    When there are `SHOWN` of them, they are given back as some of many, behind those with a text that equals the query (which
    are found by `exact`); otherwise the hits are few enough to be asked for, `most` of them. `created_at` lets the caller order
    them before they are joined.

    Each statement is planned once, for all words, and by bitmaps: how many hits a word has, the planner cannot know, and it would
    read the table in its order where it expects many.
    """
    if not table.isidentifier():
        raise ValueError(f"{table!r} is no table name")
    app = _role("")
    rank = """CASE
                    WHEN strpos(E'\\n' || t.search_text || E'\\n', E'\\n' || phrase || E'\\n') > 0 THEN 1
                    WHEN strpos(E'\\n' || t.search_text, E'\\n' || phrase) > 0 THEN 2
                    ELSE 3 END"""
    such = f"""t.deleted_at IS NULL AND t.tenant_id = {TENANT}
                    AND (SELECT bool_and(strpos(t.search_text, word) > 0) FROM unnest(words) AS word)"""  # noqa: S608 (constants)
    op.execute(
        f"""CREATE OR REPLACE FUNCTION {table}_search(
                grams integer[], words text[], phrase text, exact integer, most integer
            ) RETURNS TABLE (id uuid, rank integer, created_at timestamptz, many boolean)
            LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE ROWS 100 SET search_path = pg_catalog, public
            SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_indexscan = off
            AS $$
            #variable_conflict use_column
            DECLARE
                ids uuid[];
                ranks integer[];
                times timestamptz[];
            BEGIN
                SELECT array_agg(s.id), array_agg(s.rank), array_agg(s.created_at) INTO ids, ranks, times FROM (
                    SELECT t.id, {rank} AS rank, t.created_at FROM {table} AS t
                    WHERE t.search @> grams AND {_IN_SAMPLE.replace("(id)", "(t.id)")} AND {such}
                    LIMIT {SHOWN}) AS s;
                IF cardinality(ids) = {SHOWN} THEN
                    RETURN QUERY SELECT t.id, 1, t.created_at, true FROM {table} AS t
                        WHERE t.search @> ARRAY[exact] AND {such}
                            AND strpos(E'\\n' || t.search_text || E'\\n', E'\\n' || phrase || E'\\n') > 0
                        LIMIT most;
                    RETURN QUERY SELECT s.id, s.rank, s.created_at, true
                        FROM unnest(ids, ranks, times) AS s (id, rank, created_at)
                        WHERE s.rank > 1 OR exact IS NULL LIMIT most;
                ELSE
                    RETURN QUERY SELECT t.id, {rank}, t.created_at, false FROM {table} AS t
                        WHERE t.search @> grams AND {such} LIMIT most;
                END IF;
            END $$"""  # noqa: S608 (a migration names the table, checked above)
    )
    arguments = "integer[], text[], text, integer, integer"
    op.execute(f"REVOKE ALL ON FUNCTION {table}_search({arguments}) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {table}_search({arguments}) TO {app}")


def clear_answers() -> None:
    """Lets the relay role clear away the answers that are kept for repeats when nobody repeats any more."""
    role = _role("_relay")
    op.execute("DROP POLICY IF EXISTS relay ON idempotency")
    op.execute(f"CREATE POLICY relay ON idempotency TO {role} USING (true)")
    op.execute(
        f"GRANT SELECT (tenant_id, person_id, method, request_id, created_at), DELETE ON idempotency TO {role}"
    )


def install_chassis_tables() -> None:
    """The first version of the chassis tables: outbox, inbox, dead letters, idempotency, history, jobs."""
    for statement in _TABLES:
        op.execute(statement)
    protect("outbox", relay=True, app="SELECT, INSERT")
    op.execute(f"GRANT USAGE ON SEQUENCE outbox_seq_seq TO {_role('')}, {_role('_relay')}")
    protect("inbox", app="SELECT, INSERT, DELETE")
    protect("dead_letters", relay=True)
    protect("idempotency", app="SELECT, INSERT, UPDATE, DELETE")
    protect("history", app="SELECT, INSERT")
    protect("jobs", relay=True)


_TABLES = (
    # `seq` orders the events of one record; it says nothing about commits, so nobody may read "after the last seq".
    """CREATE TABLE outbox (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        seq bigint GENERATED ALWAYS AS IDENTITY,
        tenant text NOT NULL,
        subject text NOT NULL,
        type text NOT NULL,
        record_id uuid NOT NULL,
        headers jsonb NOT NULL,
        data bytea NOT NULL,
        created_at timestamptz NOT NULL,
        sent_at timestamptz,
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE INDEX outbox_unsent ON outbox (seq) WHERE sent_at IS NULL",
    "CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL",
    """CREATE TABLE inbox (
        tenant_id uuid NOT NULL,
        consumer text NOT NULL,
        event_id uuid NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, consumer, event_id)
    )""",
    """CREATE TABLE dead_letters (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        consumer text NOT NULL,
        event_id text NOT NULL,
        stream text NOT NULL,
        stream_seq bigint NOT NULL,
        subject text NOT NULL,
        headers jsonb NOT NULL,
        data bytea NOT NULL,
        reason text NOT NULL,
        deliveries integer NOT NULL,
        died_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, consumer, event_id)
    )""",
    """CREATE TABLE idempotency (
        tenant_id uuid NOT NULL,
        person_id uuid NOT NULL,
        method text NOT NULL,
        request_id text NOT NULL,
        request_hash bytea NOT NULL,
        response bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, person_id, method, request_id)
    )""",
    "CREATE INDEX idempotency_created ON idempotency (created_at)",
    """CREATE TABLE history (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        record_type text NOT NULL,
        record_id uuid NOT NULL,
        version integer NOT NULL,
        action text NOT NULL CHECK (action IN ('created', 'updated', 'deleted', 'restored')),
        changes jsonb NOT NULL,
        at timestamptz NOT NULL,
        by uuid NOT NULL,
        by_name text NOT NULL,
        origin text NOT NULL,
        trace_id text NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE INDEX history_of_record ON history (tenant_id, record_type, record_id, at DESC)",
    """CREATE TABLE jobs (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        kind text NOT NULL,
        key text NOT NULL,
        tenant text NOT NULL,
        person_id uuid NOT NULL,
        person_name text NOT NULL,
        team_id uuid,
        payload jsonb NOT NULL,
        state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'failed')),
        due_at timestamptz NOT NULL,
        leased_until timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        last_error text NOT NULL DEFAULT '',
        created_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, kind, key)
    )""",
    "CREATE INDEX jobs_due ON jobs (due_at) WHERE state = 'waiting'",
)


def install_home_country() -> None:
    """What `chassis.home` keeps: the tenant's country."""
    op.execute(
        "CREATE TABLE tenant_countries (tenant_id uuid NOT NULL, country_code text NOT NULL, version integer NOT NULL,"
        " event_id uuid NOT NULL, PRIMARY KEY (tenant_id))"
    )
    protect("tenant_countries")


def install_following_tables() -> None:
    """What `chassis.following` keeps: which records of others were merged, and what was moved for it."""
    op.execute(
        "CREATE TABLE merged_records (tenant_id uuid NOT NULL, merge_id uuid NOT NULL, record_id uuid NOT NULL,"
        " survivor_id uuid NOT NULL, survivor_name text NOT NULL, undone boolean NOT NULL,"
        " PRIMARY KEY (tenant_id, merge_id, record_id))"
    )
    op.execute("CREATE INDEX merged_records_record ON merged_records (tenant_id, record_id) WHERE NOT undone")
    op.execute("CREATE INDEX merged_records_survivor ON merged_records (tenant_id, survivor_id)")
    op.execute(
        "CREATE TABLE moved_references (tenant_id uuid NOT NULL, merge_id uuid NOT NULL, reference text NOT NULL,"
        " row_id uuid NOT NULL, former_id uuid NOT NULL, aside boolean NOT NULL,"
        " PRIMARY KEY (tenant_id, merge_id, reference, row_id))"
    )
    op.execute("CREATE INDEX moved_references_row ON moved_references (tenant_id, row_id)")
    protect("merged_records")
    protect("moved_references")


def install_latest_heard() -> None:
    """What `chassis.latest` keeps: the version of the last event that was heard of a record."""
    op.execute(
        "CREATE TABLE latest_heard (tenant_id uuid NOT NULL, matter text NOT NULL, record_id uuid NOT NULL,"
        " version integer NOT NULL, PRIMARY KEY (tenant_id, matter, record_id))"
    )
    protect("latest_heard")


def install_shares(*tables: str) -> None:
    """What `chassis.shares` keeps: the index of shares, and the column of each of these tables that holds them."""
    op.execute(
        "CREATE TABLE shares (tenant_id uuid NOT NULL, record_type text NOT NULL, record_id uuid NOT NULL,"
        " grantee_id uuid NOT NULL, writes boolean NOT NULL, until_time timestamptz,"
        " PRIMARY KEY (tenant_id, grantee_id, record_type, record_id))"
    )
    op.execute("CREATE INDEX shares_record ON shares (tenant_id, record_type, record_id)")
    protect("shares")
    for table in tables:
        if not table.isidentifier():
            raise ValueError(f"{table!r} is no table name")
        op.execute(f"ALTER TABLE {table} ADD COLUMN shared_with jsonb NOT NULL DEFAULT '[]'")
