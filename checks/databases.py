"""Tenants are kept apart by the database itself: read from the catalog of a freshly migrated database of each service."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from chassis.migrations import migrate_async
from checks import personal
from kehu_local import databases
from kehu_local.composition import MEMBERS, Member
from kehu_local.postgres import Postgres

WITHOUT_TENANT = {
    "alembic_version": "says how far the database is migrated, of all tenants at once; no service may read it",
}
"""Tables without tenant_id, and why."""

FOUND_BEFORE_THE_TENANT = {
    ("identity", "tenants_slug"): "a tenant is found by its short name at sign-in",
    ("marketing", "web_forms_key"): "a form on a web page is found by its public key, and tells the tenant",
}
"""Unique keys of tables with tenant_id that do not begin with it, and why: they would tell of other tenants' rows."""

AS_OWNER = {
    "search": "finds ids by words for its own tenant, which it asks for itself: chassis/chassis/schema.py",
    "named": "finds ids by whole names in the same way: customers_named, in the migrations of customers",
}
"""Policies of the owner and functions that run as it (`<table>_search`), and why."""

_TABLES = """
SELECT c.oid, c.relname AS name, c.relkind::text AS kind, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
    pg_get_userbyid(c.relowner) AS owner, coalesce(c.reloptions, '{}') AS options,
    EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull) AS held
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 2
"""
_POLICIES = """
SELECT p.polrelid AS oid, p.polname AS name, p.polcmd::text AS command, p.polpermissive AS permissive,
    array(SELECT CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END FROM unnest(p.polroles) AS r) AS roles,
    pg_get_expr(p.polqual, p.polrelid) AS reads, pg_get_expr(p.polwithcheck, p.polrelid) AS writes
FROM pg_policy p
"""
_KEYS = """
SELECT i.indrelid AS oid, k.relname AS name, a.attname = 'tenant_id' AS by_tenant
FROM pg_index i JOIN pg_class k ON k.oid = i.indexrelid
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND i.indkey[0] <> 0
WHERE i.indisunique
"""
_FOREIGN = """
SELECT f.conrelid AS oid, f.conname AS name, f.confrelid::regclass::text AS target, EXISTS (
    SELECT FROM generate_subscripts(f.conkey, 1) AS s
    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[s] AND a.attname = 'tenant_id'
    JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = f.confkey[s] AND b.attname = 'tenant_id') AS by_tenant
FROM pg_constraint f WHERE f.contype = 'f'
"""
_FUNCTIONS = """
SELECT p.proname AS name, p.proowner::regrole::text AS owner, coalesce(p.proconfig, '{}') AS settings,
    has_function_privilege('public', p.oid, 'EXECUTE') AS for_all
FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
"""
_MIGHTY = """
SELECT rolname FROM pg_roles WHERE rolname = ANY($1) AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb
    OR rolreplication OR pg_has_role(rolname, $2, 'MEMBER'))
"""
_TENANT = "(tenant_id = (NULLIF(current_setting('kehu.tenant'::text, true), ''::text))::uuid)"
"""The one rule of row security, as the catalog writes it."""


async def faults(connection: "asyncpg.Connection[asyncpg.Record]", domain: str) -> list[str]:
    """What in that service's database would let tenants meet."""
    return [f"database of {domain}: {fault}" for fault in await _faults(connection, domain)]


async def _faults(connection: Any, domain: str) -> list[str]:
    owner, app, relay = databases.roles(domain)
    policies, keys, foreign = [await connection.fetch(sql) for sql in (_POLICIES, _KEYS, _FOREIGN)]
    wrong: list[str] = []
    for row in await connection.fetch(_MIGHTY, [app, relay], owner):
        wrong.append(f"{row['rolname']} may do more than a service may, or is a member of {owner}")
    for table in await connection.fetch(_TABLES):
        name = table["name"]
        if table["owner"] != owner:
            wrong.append(f"{name} belongs to {table['owner']}: migrations run as {owner}")
        if table["kind"] == "v":
            if "security_invoker=true" not in table["options"]:
                wrong.append(f"the view {name} reads as its owner: make it WITH (security_invoker=true)")
            continue
        if table["kind"] == "m":
            wrong.append(f"the materialized view {name} knows no row security: make it a table")
            continue
        if not table["held"]:
            if name not in WITHOUT_TENANT:
                wrong.append(
                    f"{name} has no tenant_id uuid NOT NULL, and no reason in checks/databases.py why not"
                )
            continue
        wrong += _unbound(table, [one for one in policies if one["oid"] == table["oid"]], owner, app, relay)
        for key in keys:
            known = key["by_tenant"] or (domain, key["name"]) in FOUND_BEFORE_THE_TENANT
            if key["oid"] == table["oid"] and not known:
                wrong.append(f"the unique key {key['name']} of {name} does not begin with tenant_id")
        for key in foreign:
            if key["oid"] == table["oid"] and not key["by_tenant"]:
                wrong.append(
                    f"the foreign key {key['name']} of {name} lets a row point at another tenant's {key['target']}:"
                    " (tenant_id, …) on both sides"
                )
    wrong += _functions(await connection.fetch(_FUNCTIONS), owner)
    return wrong


def _unbound(table: Any, policies: list[Any], owner: str, app: str, relay: str) -> Iterator[str]:
    """What keeps row security from binding everyone on that table."""
    name = table["name"]
    if not (table["enabled"] and table["forced"]):
        yield f"{name} is not under ENABLED and FORCED row security: call protect({name!r}) in its migration"
    for policy in policies:
        if policy["roles"] == [relay] or (policy["roles"] == [owner] and policy["name"] in AS_OWNER):
            continue
        if policy["roles"] != [app]:
            yield f"the policy {policy['name']} of {name} is for {', '.join(policy['roles'])}"
        elif policy["permissive"] and (policy["reads"], policy["writes"]) != (_TENANT, _TENANT):
            yield f"the policy {policy['name']} of {name} is not USING and WITH CHECK {_TENANT}"
    if not any(policy["roles"] == [app] and policy["command"] == "*" for policy in policies):
        yield f"{name} has no policy for {app}: call protect({name!r}) in its migration"


def _functions(functions: list[Any], owner: str) -> Iterator[str]:
    """Functions that run as the owner, whom a policy lets see every tenant."""
    for one in functions:
        known = any(one["name"].endswith(f"_{suffix}") for suffix in AS_OWNER)
        if not known or one["owner"] != owner:
            yield f"the function {one['name']} runs as {one['owner']}, and has no reason in checks/databases.py why"
        if not any(setting.startswith("search_path=") for setting in one["settings"]):
            yield f"the function {one['name']} runs as {one['owner']} and sets no search_path"
        if one["for_all"]:
            yield f"the function {one['name']} runs as {one['owner']} for everybody: REVOKE ALL … FROM PUBLIC"


async def migrated(server: str, secret: str, member: Member, database: str | None = None) -> str:
    """Makes and migrates that service's database on a server; its administrator's address."""
    connection = await asyncpg.connect(server)
    try:
        await databases.lock(connection)
        await databases.make_database(connection, member.domain, secret, database)
    finally:
        await connection.close()
    name = database or f"kehu_{member.domain}"
    await migrate_async(databases.urls_of(server, member.domain, secret, name).owner, member.migrations)
    return server.rpartition("/")[0] + f"/{name}"


async def all_faults(server: str, secret: str) -> list[str]:
    """What is wrong in the databases of all services, made anew on that server."""
    found: list[str] = []
    for member in MEMBERS:
        connection = await asyncpg.connect(await migrated(server, secret, member))
        try:
            found += await faults(connection, member.domain)
            found += await personal.faults(connection, member)
        finally:
            await connection.close()
    return found


def on_a_server_of_its_own() -> list[str]:
    """The same on a PostgreSQL that lives for this long."""
    folder = Path(tempfile.mkdtemp(prefix="kehu-check-"))
    folder.chmod(0o711)  # as root the server runs under an account that must get in
    server = Postgres(folder / "postgres", "check", folder / "postgres.log", settings={"fsync": "off"})
    try:
        server.start()
        return asyncio.run(all_faults(server.url, "check"))
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
