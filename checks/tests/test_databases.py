"""What would let tenants meet is found in a real database, whatever a migration has made."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from chassis.testing import DatabaseUrls
from checks import databases, personal
from kehu_local.composition import members

LEADS = members(["leads"])[-1]
_HELD = "tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id)"
_TENANT = "nullif(current_setting('kehu.tenant', true), '')::uuid"
_FORCED = "ALTER TABLE planted ENABLE ROW LEVEL SECURITY; ALTER TABLE planted FORCE ROW LEVEL SECURITY;"
_BOUND = f"CREATE POLICY tenant ON planted TO kehu_leads USING (tenant_id = {_TENANT}) WITH CHECK (tenant_id = {_TENANT});"
_SOUND = f"CREATE TABLE planted ({_HELD}, lead_id uuid, name text); {_FORCED} {_BOUND}"


@pytest.fixture(scope="module")
def database(postgres_url: str, service_database: Callable[[str], DatabaseUrls]) -> Iterator[tuple[str, str]]:
    """Addresses of a migrated database of leads, as its owner and as an administrator."""
    urls = service_database("leads")
    path = urlsplit(urls.owner).path
    yield urls.owner, urlunsplit(urlsplit(postgres_url)._replace(path=path))


def within(url: str, plant: str, look: Callable[[Any], Awaitable[list[str]]]) -> list[str]:
    """What is seen in a transaction that has planted that, and is then undone."""

    async def run() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(plant)
            found = await look(connection)
            await transaction.rollback()
            return found
        finally:
            await connection.close()

    return asyncio.run(run())


def faults(url: str, plant: str) -> list[str]:
    return within(url, plant, lambda connection: databases.faults(connection, "leads"))


def test_a_sound_database_and_a_sound_table_have_no_fault(database: tuple[str, str]) -> None:
    assert faults(database[0], "SELECT 1") == []
    assert faults(database[0], _SOUND) == []


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (f"CREATE TABLE planted ({_HELD})", "ENABLED and FORCED"),
        (f"CREATE TABLE planted ({_HELD}); {_FORCED}", "has no policy for kehu_leads"),
        (f"{_SOUND}; ALTER TABLE planted NO FORCE ROW LEVEL SECURITY", "ENABLED and FORCED"),
        (f"{_SOUND}; ALTER TABLE planted DISABLE ROW LEVEL SECURITY", "ENABLED and FORCED"),
        ("CREATE TABLE planted (id uuid PRIMARY KEY)", "has no tenant_id"),
        ("CREATE TABLE planted (tenant_id uuid, id uuid)", "has no tenant_id uuid NOT NULL"),
        (f"CREATE TABLE planted ({_HELD}); {_FORCED} {_BOUND.partition(' WITH CHECK')[0]}", "USING and WITH CHECK"),
        (f"{_SOUND}; CREATE POLICY more ON planted TO kehu_leads USING (true)", "USING and WITH CHECK"),
        (f"{_SOUND}; CREATE POLICY more ON planted USING (tenant_id IS NULL)", "is for public"),
        (f"{_SOUND}; CREATE POLICY more ON planted TO kehu_leads_owner USING (true)", "is for kehu_leads_owner"),
        (f"{_SOUND}; CREATE UNIQUE INDEX planted_name ON planted (name)", "unique key planted_name"),
        (f"{_SOUND}; CREATE UNIQUE INDEX planted_name ON planted (lower(name), tenant_id)", "unique key planted_name"),
        (f"{_SOUND}; ALTER TABLE planted ADD CONSTRAINT once UNIQUE (name, tenant_id)", "unique key once"),
        (
            "CREATE TABLE aims (id uuid PRIMARY KEY); "
            f"{_SOUND}; ALTER TABLE planted ADD CONSTRAINT aim FOREIGN KEY (lead_id) REFERENCES aims (id)",
            "foreign key aim of planted",
        ),
        (
            # Columns that bear the tenant, crossed: the row points into the tenant that its lead_id says.
            f"{_SOUND}; ALTER TABLE planted ADD CONSTRAINT aim FOREIGN KEY (lead_id, tenant_id) REFERENCES leads (tenant_id, id)",
            "foreign key aim of planted",
        ),
        ("CREATE VIEW planted AS SELECT * FROM leads", "security_invoker"),
        ("CREATE VIEW planted WITH (security_invoker=false) AS SELECT * FROM leads", "security_invoker"),
        ("CREATE MATERIALIZED VIEW planted AS SELECT * FROM leads", "knows no row security"),
        (
            "CREATE FUNCTION planted() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public"
            " AS 'SELECT count(*) FROM leads'; REVOKE ALL ON FUNCTION planted() FROM PUBLIC",
            "has no reason",
        ),
        ("ALTER FUNCTION leads_search(integer[], text[], text, integer) RESET search_path", "sets no search_path"),
        ("GRANT EXECUTE ON FUNCTION leads_search(integer[], text[], text, integer) TO PUBLIC", "for everybody"),
    ],
)  # fmt: skip
def test_what_is_planted_is_found(database: tuple[str, str], plant: str, said: str) -> None:
    found = faults(database[0], plant)
    assert any(said in fault for fault in found), found


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ("ALTER ROLE kehu_leads BYPASSRLS", "may do more than a service may"),
        ("GRANT kehu_leads_owner TO kehu_leads", "is a member of kehu_leads_owner"),
        ("ALTER TABLE leads OWNER TO kehu_leads", "leads belongs to kehu_leads"),
    ],
)
def test_a_role_that_may_too_much_is_found(database: tuple[str, str], plant: str, said: str) -> None:
    found = faults(database[1], plant)
    assert any(said in fault for fault in found), found


def test_a_view_that_reads_as_its_reader_passes(database: tuple[str, str]) -> None:
    view = "CREATE VIEW planted WITH (security_invoker=true) AS SELECT * FROM leads"
    assert faults(database[0], view) == []


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ("SELECT 1", ""),
        ("ALTER TABLE leads ADD COLUMN second_phone text", "leads.second_phone looks personal"),
        (
            "ALTER TABLE leads ADD COLUMN spouse jsonb, ADD COLUMN home_addresses jsonb",
            "leads.home_addresses looks",
        ),
        (f"CREATE TABLE planted ({_HELD}, names text[])", "planted.names looks personal"),
        ("ALTER TABLE leads ADD COLUMN visit_note text", "leads.visit_note looks personal"),
        (f"CREATE TABLE planted ({_HELD}, reason text)", "planted.reason looks personal"),
        # A number tells of nobody, and of this table it is said that it does not.
        ("ALTER TABLE leads ADD COLUMN phone_count integer", ""),
        ("ALTER TABLE cadences ADD COLUMN channel_name text", ""),
    ],
)
def test_what_looks_personal_and_is_declared_nowhere_is_found(
    database: tuple[str, str], plant: str, said: str
) -> None:
    found = within(database[0], plant, lambda connection: personal.faults(connection, LEADS))
    assert [said in fault for fault in found] == [True] * bool(said), found
