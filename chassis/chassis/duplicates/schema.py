"""The tables of sweeps and pairs in a service's database; called from its migrations."""

from uuid import UUID

from alembic import op
from sqlalchemy import text

from chassis.schema import build_index, owner_role, protect

AT_ONCE = 1000
"""Pairs that one statement looks at."""


def install_duplicate_sweeps() -> None:
    """Makes the tables of sweeps, and of the pairs that they find or that somebody sets aside."""
    for statement in _TABLES:
        op.execute(statement)
    for table in ("duplicate_sweeps", "duplicate_pairs"):
        protect(table)


def install_pair_origins() -> None:
    """Makes the table of what sets a pair aside by itself, and fills it in parts; it may be repeated.

    Replicas of the version before keep one such merge in the pair's row, in `came_by` and `came_from`. While they run, the
    database keeps both true: what they write there becomes an origin, and they find one of the origins there.
    """
    # What stands here is kept when what follows has failed, and is then repeated.
    op.execute(
        "ALTER TABLE duplicate_pairs ADD COLUMN IF NOT EXISTS made_by_merge boolean NOT NULL DEFAULT false"
    )
    op.execute(_ORIGINS)
    op.execute("DROP POLICY IF EXISTS tenant ON duplicate_pair_origins")
    protect("duplicate_pair_origins")
    for statement in _KEPT_TRUE:
        op.execute(statement)
    owner = owner_role()
    with op.get_context().autocommit_block():
        for table in ("duplicate_pairs", "duplicate_pair_origins"):
            # Composed of names of ours.
            op.execute(f"DROP POLICY IF EXISTS widening ON {table}")
            # Composed of names of ours.
            op.execute(f"CREATE POLICY widening ON {table} TO {owner} USING (true) WITH CHECK (true)")
        # Where the SQL is only written down, there are no pairs to look at.
        if not op.get_context().as_sql:
            _note_origins()
        op.execute("DROP POLICY widening ON duplicate_pairs")
        op.execute("DROP POLICY widening ON duplicate_pair_origins")
        for index, column in (("merge", "merge_id"), ("from", "from_id")):
            build_index(f"duplicate_pair_origins_{index}", f"duplicate_pair_origins (tenant_id, {column})")


def _note_origins() -> None:
    connection = op.get_bind()
    last = {"tenant": UUID(int=0), "id": UUID(int=0)}
    while found := connection.execute(text(_SOME), {**last, "most": AT_ONCE}).mappings().all():
        end = found[-1]
        part = {**last, "to_tenant": end["tenant"], "to_id": end["id"]}
        for statement in (_NOTE, _NOTE_MADE):
            connection.execute(text(statement), part)
        last = {"tenant": end["tenant"], "id": end["id"]}


_ORIGINS = """CREATE TABLE IF NOT EXISTS duplicate_pair_origins (
    tenant_id uuid NOT NULL,
    pair_id uuid NOT NULL,
    merge_id uuid NOT NULL,
    from_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, pair_id, merge_id, from_id),
    FOREIGN KEY (tenant_id, pair_id) REFERENCES duplicate_pairs (tenant_id, id) ON DELETE CASCADE
)"""
_KEPT_TRUE = (
    # What is written by a trigger itself is no word of theirs.
    """CREATE OR REPLACE FUNCTION duplicate_pairs_came() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.came_by IS NULL THEN
            DELETE FROM duplicate_pair_origins WHERE tenant_id = NEW.tenant_id AND pair_id = NEW.id;
        ELSE
            INSERT INTO duplicate_pair_origins (tenant_id, pair_id, merge_id, from_id)
                VALUES (NEW.tenant_id, NEW.id, NEW.came_by, NEW.came_from) ON CONFLICT DO NOTHING;
            IF TG_OP = 'INSERT' THEN
                UPDATE duplicate_pairs SET made_by_merge = true WHERE tenant_id = NEW.tenant_id AND id = NEW.id;
            END IF;
        END IF;
        RETURN NULL;
    END $$""",
    """CREATE OR REPLACE TRIGGER duplicate_pairs_came_first AFTER INSERT ON duplicate_pairs FOR EACH ROW
        WHEN (NEW.came_by IS NOT NULL AND pg_trigger_depth() = 0) EXECUTE FUNCTION duplicate_pairs_came()""",
    """CREATE OR REPLACE TRIGGER duplicate_pairs_came_later AFTER UPDATE OF came_by, came_from ON duplicate_pairs FOR EACH ROW
        WHEN (NEW.came_by IS DISTINCT FROM OLD.came_by AND pg_trigger_depth() = 0)
        EXECUTE FUNCTION duplicate_pairs_came()""",
    """CREATE OR REPLACE FUNCTION duplicate_pair_origins_told() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            said duplicate_pair_origins;
        BEGIN
            IF TG_OP = 'DELETE' THEN said := OLD; ELSE said := NEW; END IF;
            UPDATE duplicate_pairs SET (came_by, came_from) = (
                SELECT o.merge_id, o.from_id FROM duplicate_pair_origins AS o
                WHERE o.tenant_id = said.tenant_id AND o.pair_id = said.pair_id ORDER BY o.merge_id, o.from_id LIMIT 1
            ) WHERE tenant_id = said.tenant_id AND id = said.pair_id;
            RETURN NULL;
        END $$""",
    """CREATE OR REPLACE TRIGGER duplicate_pair_origins_told AFTER INSERT OR DELETE ON duplicate_pair_origins FOR EACH ROW
        WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION duplicate_pair_origins_told()""",
)
_SOME = (
    "SELECT tenant_id AS tenant, id FROM duplicate_pairs WHERE (tenant_id, id) > (CAST(:tenant AS uuid), CAST(:id AS uuid))"
    " AND came_by IS NOT NULL ORDER BY tenant_id, id LIMIT :most"
)
_THESE = (
    " WHERE (tenant_id, id) > (CAST(:tenant AS uuid), CAST(:id AS uuid))"
    " AND (tenant_id, id) <= (CAST(:to_tenant AS uuid), CAST(:to_id AS uuid)) AND came_by IS NOT NULL"
)
_NOTE = (
    "INSERT INTO duplicate_pair_origins (tenant_id, pair_id, merge_id, from_id)"  # noqa: S608 (constants of this file)
    " SELECT tenant_id, id, came_by, came_from FROM duplicate_pairs" + _THESE + " ON CONFLICT DO NOTHING"
)
# Whether somebody had said it of the two before, nobody knows any more: the version before dropped those that no sweep found.
_NOTE_MADE = "UPDATE duplicate_pairs SET made_by_merge = true" + _THESE + " AND sweep_id IS NULL"  # noqa: S608 (likewise)

_TABLES = (
    """CREATE TABLE duplicate_sweeps (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        kind text NOT NULL,
        state text NOT NULL CHECK (state IN ('RUNNING', 'SUCCEEDED', 'CANCELLED', 'FAILED')),
        total_records integer NOT NULL,
        processed_records integer NOT NULL,
        last_id uuid NOT NULL,
        found_pairs integer NOT NULL,
        new_pairs integer NOT NULL,
        set_aside_pairs integer NOT NULL,
        frequent jsonb NOT NULL,
        frequent_values integer NOT NULL,
        ended_at timestamptz,
        failures integer NOT NULL,
        failed_at integer NOT NULL,
        failure_reason text NOT NULL,
        failure_message text NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )""",
    "CREATE INDEX duplicate_sweeps_created ON duplicate_sweeps (tenant_id, created_at, id) WHERE deleted_at IS NULL",
    "CREATE UNIQUE INDEX duplicate_sweeps_running ON duplicate_sweeps (tenant_id, kind) WHERE state = 'RUNNING'",
    """CREATE TABLE duplicate_pairs (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        created_by uuid NOT NULL,
        updated_at timestamptz NOT NULL,
        updated_by uuid NOT NULL,
        deleted_at timestamptz,
        kind text NOT NULL,
        first_id uuid NOT NULL,
        second_id uuid NOT NULL,
        first_at uuid NOT NULL,
        second_at uuid NOT NULL,
        score integer NOT NULL CHECK (score BETWEEN 0 AND 100),
        reasons text[] NOT NULL,
        state text NOT NULL CHECK (state IN ('OPEN', 'SET_ASIDE', 'MERGED')),
        state_before text NOT NULL CHECK (state_before IN ('', 'OPEN', 'SET_ASIDE')),
        sweep_id uuid,
        set_aside_by uuid,
        set_aside_at timestamptz,
        merged_by uuid,
        came_by uuid,
        came_from uuid,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT duplicate_pairs_once UNIQUE (tenant_id, kind, first_id, second_id),
        CHECK (first_id < second_id),
        CHECK ((state = 'MERGED') = (merged_by IS NOT NULL))
    )""",
    "CREATE INDEX duplicate_pairs_listed ON duplicate_pairs (tenant_id, kind, state, score, id) WHERE deleted_at IS NULL",
    "CREATE INDEX duplicate_pairs_second ON duplicate_pairs (tenant_id, kind, second_id)",
    "CREATE INDEX duplicate_pairs_merged ON duplicate_pairs (tenant_id, merged_by) WHERE merged_by IS NOT NULL",
    "CREATE INDEX duplicate_pairs_came ON duplicate_pairs (tenant_id, came_by) WHERE came_by IS NOT NULL",
    "CREATE INDEX duplicate_pairs_from ON duplicate_pairs (tenant_id, came_from) WHERE came_from IS NOT NULL",
)
