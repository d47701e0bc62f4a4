"""A raw session as each role a service has: the database itself keeps tenants apart. Tables are read from the catalog."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import jwt
import pytest

from kehu_local.composition import MEMBERS
from kehu_local.databases import roles
from kehu_local.suite import Suite
from proof.company import World

DOMAINS = [member.domain for member in MEMBERS]
_TABLES = """
SELECT c.oid, c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced, pg_get_userbyid(c.relowner) AS owner,
    (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped) = 1 AS held,
    (SELECT a.attname = 'tenant_id' FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisprimary) AS keyed
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> 'alembic_version' ORDER BY 2
"""
_NOT_BY_TENANT: dict[str, set[str]] = {"identity": {"tenants"}}
"""Tables that begin with something else than the tenant, for they are what a tenant is found by."""

_FOUND_BY_NAME = {"identity": ("tenants",), "marketing": ("web_forms",)}
"""By whose short name or public key somebody who is not signed in finds their tenant."""


def session(url: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Does something on a connection of its own."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def tables(suite: Suite, domain: str) -> list[Any]:
    found = session(suite.databases[domain].owner, lambda c: c.fetch(_TABLES))
    assert len(found) >= 6, domain
    return found


def rival_id(rival: Any) -> str:
    token = rival.headers["authorization"].removeprefix("Bearer ")
    return str(jwt.decode(token, options={"verify_signature": False})["tid"])


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_table_is_bound_and_owned_by_nobody_who_serves(domain: str, suite: Suite) -> None:
    owner, _, _ = roles(domain)
    for table in tables(suite, domain):
        if table["name"] in _NOT_BY_TENANT.get(domain, set()):
            assert table["forced"], table["name"]
            continue
        assert table["held"] and table["forced"], table["name"]
        assert table["keyed"], f"the key of {table['name']} does not begin with the tenant"
        assert table["owner"] == owner


@pytest.mark.parametrize("domain", DOMAINS)
def test_without_a_tenant_and_with_another_nothing_is_seen(
    domain: str, suite: Suite, world: World, rival: Any
) -> None:
    names = [table["name"] for table in tables(suite, domain) if table["held"]]

    async def look(connection: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for who in ("", rival_id(rival), world.tenant_id):
            await connection.execute("SELECT set_config('kehu.tenant', $1, false)", who)
            for name in names:
                ours = await connection.fetchval(
                    f'SELECT count(*) FROM "{name}" WHERE tenant_id = $1', world.tenant_id
                )
                all_of_them = await connection.fetchval(f'SELECT count(*) FROM "{name}"')
                found[f"{who} {name}"] = (ours, all_of_them)
        return found

    found = session(suite.databases[domain].app, look)
    assert any(found[f"{world.tenant_id} {name}"][0] for name in names), "the world has nothing here"
    for name in names:
        assert found[f" {name}"] == (0, 0)
        assert found[f"{rival_id(rival)} {name}"][0] == 0
        ours, all_of_them = found[f"{world.tenant_id} {name}"]
        assert ours == all_of_them


@pytest.mark.parametrize("domain", DOMAINS)
def test_nothing_is_written_across(domain: str, suite: Suite, world: World, rival: Any) -> None:
    names = [table["name"] for table in tables(suite, domain) if table["held"]]

    async def attack(connection: Any) -> list[str]:
        through: list[str] = []
        await connection.execute("SELECT set_config('kehu.tenant', $1, false)", rival_id(rival))
        for name in names:
            for what, sql in {
                "takes over": f'UPDATE "{name}" SET tenant_id = tenant_id WHERE tenant_id = $1',
                "removes": f'DELETE FROM "{name}" WHERE tenant_id = $1',
            }.items():
                try:
                    done = await connection.execute(sql, world.tenant_id)
                except asyncpg.InsufficientPrivilegeError:
                    continue
                if not done.endswith(" 0"):
                    through.append(f"{what} {name}")
            try:  # a row of one's own is pushed over
                done = await connection.execute(f'UPDATE "{name}" SET tenant_id = $1', world.tenant_id)
                if not done.endswith(" 0"):
                    through.append(f"pushes {name}")
            except (asyncpg.InsufficientPrivilegeError, asyncpg.IntegrityConstraintViolationError):
                continue
        return through

    assert session(suite.databases[domain].app, attack) == []


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("kind", ["app", "relay"])
def test_a_role_cannot_free_itself(domain: str, kind: str, suite: Suite) -> None:
    owner, _, _ = roles(domain)
    table = tables(suite, domain)[0]["name"]
    attempts = (
        f"SET ROLE {owner}",
        "SET ROLE postgres",
        f"SET SESSION AUTHORIZATION {owner}",
        f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY',
        f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY',
        f'CREATE POLICY mine ON "{table}" USING (true)',
        f'TRUNCATE "{table}"',
        f'DROP TABLE "{table}"',
        "CREATE TABLE public.mine (a int)",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        f"ALTER ROLE {owner} PASSWORD 'x'",
        "CREATE ROLE mine SUPERUSER",
    )

    async def attack(connection: Any) -> list[str]:
        through: list[str] = []
        for sql in attempts:
            try:
                await connection.execute(sql)
                through.append(sql)
            except asyncpg.PostgresError:
                continue
        if await connection.fetchval(
            "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ):
            through.append("is above row security")
        if await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = current_user"
        ):
            through.append("owns something")
        return through

    assert session(getattr(suite.databases[domain], kind), attack) == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_relay_sees_what_it_passes_on_and_no_more(domain: str, suite: Suite) -> None:
    may = {"outbox", "jobs", "dead_letters", "idempotency", *_FOUND_BY_NAME.get(domain, ())}

    async def look(connection: Any) -> set[str]:
        seen: set[str] = set()
        for name in names:
            try:
                await connection.fetchval(f'SELECT count(*) FROM "{name}"')
                seen.add(name)
            except asyncpg.InsufficientPrivilegeError:
                continue
        return seen

    names = [table["name"] for table in tables(suite, domain)]
    seen = session(suite.databases[domain].relay, look)
    assert {"outbox", "jobs"} <= seen <= may, seen


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_relay_sees_no_answer_that_is_kept_for_repeats(domain: str, suite: Suite) -> None:
    """It clears them away by their age, and reads none."""

    async def reads(connection: Any) -> None:
        await connection.fetchval("SELECT count(created_at) FROM idempotency")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("SELECT response FROM idempotency LIMIT 1")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE idempotency SET created_at = now() WHERE created_at IS NULL")

    session(suite.databases[domain].relay, reads)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_service_cannot_enter_the_database_of_another(domain: str, suite: Suite) -> None:
    for other in DOMAINS:
        if other == domain:
            continue
        address = (
            suite.databases[domain].app.rpartition("/")[0]
            + suite.databases[other].app[suite.databases[other].app.rindex("/") :]
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            session(address, lambda c: c.fetchval("SELECT 1"))


def test_an_unbound_table_would_be_seen(suite: Suite) -> None:
    """The check can fail: a table without row security, in a copy of nobody's."""

    async def plant(connection: Any) -> list[Any]:
        await connection.execute("CREATE TABLE planted (tenant_id uuid, id uuid, PRIMARY KEY (id))")
        try:
            return await connection.fetch(_TABLES)
        finally:
            await connection.execute("DROP TABLE planted")

    found = {table["name"]: table for table in session(suite.databases["leads"].owner, plant)}
    assert not found["planted"]["forced"] and not found["planted"]["keyed"]
