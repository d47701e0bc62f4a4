"""What is left of somebody in the databases: every table is read, whatever it is for."""

import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from kehu_local.suite import Suite

_TABLES = (
    "SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY 1"
)


def databases_of(suite: Suite) -> dict[str, str]:
    """The addresses of all databases of a suite as the server's administrator, by domain."""
    assert suite.postgres is not None
    server = urlsplit(suite.postgres.url)
    return {
        domain: urlunsplit(server._replace(path=urlsplit(urls.app).path))
        for domain, urls in suite.databases.items()
    }


async def places(databases: Mapping[str, str], tenant_id: object, words: Iterable[str]) -> list[str]:
    """Every table in which one of these words stands in rows of that tenant, with the word: `sales.orders: 13900000000`."""
    found: list[str] = []
    known = list(words)
    for domain, url in databases.items():
        connection: Any = await asyncpg.connect(url)
        try:
            for table in [row["name"] for row in await connection.fetch(_TABLES)]:
                rows = await connection.fetch(f'SELECT * FROM "{table}" WHERE tenant_id = $1', tenant_id)
                text = "\n".join(_shown(value) for row in rows for value in row.values()).lower()
                found += [f"{domain}.{table}: {word}" for word in known if word.lower() in text]
        finally:
            await connection.close()
    return found


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        with suppress(zlib.error):  # as packed files are
            value = zlib.decompress(value)
        return value.decode("utf-8", "replace")
    return str(value)
