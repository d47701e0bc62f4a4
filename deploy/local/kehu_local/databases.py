"""A database for each service, with three roles: one that owns the tables, one for the service, one for its relay.

The service's and the relay's role own nothing, are bound by row-level security, and may connect to their own database only.
Passwords are derived from one secret, so that nothing needs to be kept but that.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

_LIMITS = {"statement_timeout": "5s", "lock_timeout": "1s", "idle_in_transaction_session_timeout": "10s"}
_LOCK = 0x6B656875
"""Advisory lock under which roles and databases are made: two test workers may come at once."""


@dataclass(frozen=True)
class DatabaseUrls:
    """Addresses of one service's database, one a role."""

    owner: str
    """Owns the tables; migrates."""
    app: str
    """The service; sees one tenant at a time."""
    relay: str
    """Sees outbox, jobs and dead letters of all tenants."""


def roles(domain: str) -> tuple[str, str, str]:
    """The names of a service's owner, app and relay role."""
    return f"kehu_{domain}_owner", f"kehu_{domain}", f"kehu_{domain}_relay"


def password_of(secret: str, role: str) -> str:
    """The password of that role in an installation with that secret."""
    return hmac.new(secret.encode(), f"role {role}".encode(), hashlib.sha256).hexdigest()[:40]


def urls_of(server: str, domain: str, secret: str, database: str | None = None) -> DatabaseUrls:
    """The addresses of a service's database on the server of that address; `database` is kehu_<domain> unless given."""
    parts = urlsplit(server)
    host = parts.netloc.rpartition("@")[2]

    def url(role: str) -> str:
        netloc = f"{role}:{quote(password_of(secret, role), safe='')}@{host}"
        return urlunsplit((parts.scheme, netloc, f"/{database or f'kehu_{domain}'}", parts.query, ""))

    return DatabaseUrls(*map(url, roles(domain)))


async def make_databases(
    server: str, domains: Iterable[str], secret: str, *, close_others: bool = False
) -> None:
    """Makes the roles and databases of those services where they are missing, and sets their passwords.

    `server` is the address of any database there as a role that may make roles and databases. `close_others` also takes
    from everyone the right to connect to the server's own databases: for a server that is ours alone.
    """
    connection = await asyncpg.connect(server)
    try:
        await lock(connection)
        for domain in domains:
            await make_database(connection, domain, secret)
        if close_others:
            await connection.execute("REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC")
    finally:
        await connection.close()


async def lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Waits until nobody else makes roles or databases; held until the connection closes."""
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)


async def make_database(
    connection: "asyncpg.Connection[asyncpg.Record]", domain: str, secret: str, database: str | None = None
) -> None:
    """The same for one service on an open connection. Raises ValueError for a name that is no plain identifier."""
    database = database or f"kehu_{domain}"
    for name in (domain, database):
        if not (name.isascii() and name.isidentifier() and name == name.lower()):
            raise ValueError(f"{name!r} is no name for a database")
    known = {
        row["rolname"]
        for row in await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname ^@ 'kehu_'")
    }
    owner, app, relay = roles(domain)
    for role in (owner, app, relay):
        # Managed servers refuse NOSUPERUSER and NOBYPASSRLS in so many words; they are the defaults, and checked below.
        verb = "ALTER" if role in known else "CREATE"
        # Composed of a checked name and hex digits.
        await connection.execute(f"{verb} ROLE {role} LOGIN PASSWORD '{password_of(secret, role)}'")
    for role in (app, relay):
        for setting, value in _LIMITS.items():
            # Composed of settings of this file.
            await connection.execute(f"ALTER ROLE {role} SET {setting} = '{value}'")
    too_mighty = await connection.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY($1)"
        " AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)",
        [owner, app, relay],
    )
    if too_mighty:
        raise PermissionError(
            f"{too_mighty[0]['rolname']} may do more than a service may: take its attributes away"
        )
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
        # Only a member of a role, or a superuser, may make a database that the role owns.
        if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            # Composed of names checked above.
            await connection.execute(f"GRANT {owner} TO CURRENT_USER")
        # Composed of names checked above.
        await connection.execute(f"CREATE DATABASE {database} OWNER {owner} STRATEGY wal_log")
    # Composed of names checked above.
    await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    # Composed of names checked above.
    await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {app}, {relay}")
