"""The floor: the same rows by plain asyncpg and orjson in this process, with no service between.

Reads are the statements the services send, in a transaction bound to the tenant as theirs are. Writes put copies of rows that the
services wrote into the same tables, in as many transactions, each made durable.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson

from kehu_local.suite import Suite

_VIEW = {
    "customers": (
        "SELECT * FROM customers WHERE id = $1",
        "SELECT * FROM contacts WHERE customer_id = $1 AND deleted_at IS NULL ORDER BY created_at LIMIT 50",
    ),
    "leads": ("SELECT * FROM leads WHERE customer_id = $1 AND deleted_at IS NULL LIMIT 50",),
    "sales": (
        "SELECT * FROM opportunities WHERE customer_id = $1 AND deleted_at IS NULL ORDER BY updated_at DESC LIMIT 50",
        "SELECT status, amount_currency, count(*), sum(amount) FROM opportunities"
        " WHERE customer_id = $1 AND deleted_at IS NULL GROUP BY 1, 2",
        "SELECT * FROM activities WHERE customer_id = $1 AND deleted_at IS NULL ORDER BY due_time LIMIT 50",
        "SELECT * FROM orders WHERE customer_id = $1 AND deleted_at IS NULL ORDER BY order_date DESC LIMIT 50",
        "SELECT currency_code, count(*), sum(total), max(order_date) FROM orders"
        " WHERE customer_id = $1 AND deleted_at IS NULL GROUP BY 1",
    ),
    "servicedesk": (
        "SELECT * FROM tickets WHERE customer_id = $1 AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 50",
    ),
    "marketing": (
        "SELECT m.*, c.name FROM campaign_members m JOIN campaigns c USING (tenant_id)"
        " WHERE m.customer_id = $1 AND c.id = m.campaign_id LIMIT 50",
    ),
}
_LIST = "SELECT * FROM customers WHERE deleted_at IS NULL ORDER BY display_name, id LIMIT 50"
_HIDDEN = ("search", "search_text")
Pool = Any


def _plain(value: Any) -> Any:
    return str(value)


def _json(rows: Iterable[Any]) -> bytes:
    return orjson.dumps([{k: v for k, v in row.items() if k not in _HIDDEN} for row in rows], default=_plain)


class Floor:
    """Pools on the services' databases, as their own roles."""

    def __init__(self, suite: Suite, tenant: UUID) -> None:
        self._suite, self._tenant = suite, tenant
        self.pools: dict[str, Pool] = {}
        self._samples: dict[str, list[tuple[str, dict[str, Any]]]] = {}

    async def open(self) -> None:
        """Connects."""
        for domain in _VIEW:
            self.pools[domain] = await asyncpg.create_pool(
                self._suite.databases[domain].app, min_size=1, max_size=16
            )

    async def close(self) -> None:
        """Ends the connections."""
        for pool in self.pools.values():
            await pool.close()

    async def rows(self, domain: str, sql: str, *args: Any) -> list[Any]:
        """Rows of the tenant."""
        async with self.pools[domain].acquire() as connection:
            await connection.execute(f"BEGIN READ ONLY; SET LOCAL kehu.tenant = '{self._tenant}'")
            try:
                return await connection.fetch(sql, *args)
            finally:
                await connection.execute("COMMIT")

    async def get(self, id: UUID) -> None:
        """One customer."""
        _json(await self.rows("customers", "SELECT * FROM customers WHERE id = $1", id))

    async def customers(self, ids: Sequence[UUID]) -> None:
        """Those customers, by their ids."""
        _json(await self.rows("customers", "SELECT * FROM customers WHERE id = ANY($1)", ids))

    async def list(self) -> None:
        """The first 50 customers by name."""
        _json(await self.rows("customers", _LIST))

    async def view(self, id: UUID) -> None:
        """Everything of a customer, all databases at once."""

        async def part(domain: str) -> list[bytes]:
            return [_json(await self.rows(domain, sql, id)) for sql in _VIEW[domain]]

        await asyncio.gather(*(part(domain) for domain in _VIEW))

    async def learn(self, name: str, domain: str, samples: Sequence[tuple[str, str, Any]]) -> None:
        """Keeps rows `(table, condition, argument)` as what `write(name)` puts in again."""
        kept: list[tuple[str, dict[str, Any]]] = []
        for table, condition, argument in samples:
            found = await self.rows(domain, f"SELECT * FROM {table} WHERE {condition}", argument)
            assert found, f"no {table} with {condition}"
            kept += [(table, dict(row)) for row in found]
        self._samples[name] = kept

    async def write(self, domain: str, name: str) -> None:
        """Copies of the learnt rows with new keys, in one transaction."""
        async with self.pools[domain].acquire() as connection:
            await connection.execute(f"BEGIN; SET LOCAL kehu.tenant = '{self._tenant}'")
            for table, row in self._samples[name]:
                await _insert(connection, table, _renewed(table, row))
            await connection.execute("COMMIT")

    async def copy(self, domain: str, table: str, rows: int) -> float:
        """Seconds of a COPY of the newest rows of a table into an empty one like it with all its indexes, durably.

        As the owner of the database: COPY does not go with row-level security.
        """
        newest = "seq" if table == "outbox" else "at" if table == "history" else "created_at"
        found = await self.rows(domain, f"SELECT * FROM {table} ORDER BY {newest} DESC LIMIT {rows}")
        columns = [c for c in dict(found[0]) if (table, c) != ("outbox", "seq")]
        records = [tuple(row[c] for c in columns) for row in found]
        owner: Any = await asyncpg.connect(self._suite.databases[domain].owner)
        try:
            await owner.execute(f"CREATE TABLE bench_copy (LIKE {table} INCLUDING ALL)")
            began = time.perf_counter()
            await owner.copy_records_to_table("bench_copy", records=records, columns=columns)
            return time.perf_counter() - began
        finally:
            await owner.execute("DROP TABLE IF EXISTS bench_copy")
            await owner.close()

    async def copied_out(self, domain: str, table: str) -> float:
        """Seconds of a COPY of the tenant's list, in the order of its making, as CSV to nobody."""
        found = await self.rows(domain, f"SELECT * FROM {table} LIMIT 1")
        columns = ", ".join(name for name in dict(found[0]) if name not in _HIDDEN)
        query = f"SELECT {columns} FROM {table} WHERE deleted_at IS NULL ORDER BY created_at, id"
        async with self.pools[domain].acquire() as connection:
            await connection.execute(f"BEGIN READ ONLY; SET LOCAL kehu.tenant = '{self._tenant}'")
            try:
                began = time.perf_counter()
                await connection.copy_from_query(query, output=_nobody, format="csv")
                return time.perf_counter() - began
            finally:
                await connection.execute("COMMIT")


async def _nobody(data: bytes) -> None:
    """Takes what is copied."""


def _renewed(table: str, row: dict[str, Any]) -> dict[str, Any]:
    fresh = dict(row)
    if "id" in fresh:
        fresh["id"] = uuid4()
    if table == "outbox":
        del fresh["seq"]
        fresh["sent_at"] = fresh["created_at"]  # the relay has nothing to do with it
    if table == "idempotency":
        fresh["request_id"] = str(uuid4())
    for key in ("external_key", "number"):
        if fresh.get(key):
            fresh[key] = str(uuid4())
    return fresh


async def _insert(connection: Any, table: str, row: dict[str, Any]) -> None:
    places = ", ".join(f"${n + 1}" for n in range(len(row)))
    names = ", ".join(f'"{name}"' for name in row)
    await connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *row.values())
