"""Customers put into their tables by COPY, as an import would have made them: a million in minutes, with no history or events.

One that the gateway has made is the pattern; the others have a name, a number and a value of the custom field of their own, and
are found by them. The indexes of words are made anew behind them.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from bench import data
from bench.stand import Stand
from chassis.company_names import core_name
from chassis.custom_fields.definition import number_text
from chassis.ids import new_id
from chassis.search import terms

_BATCH = 5_000
_VALUE = ("tenant_id", "field_id", "record_id", "place", "value", "created_at")


async def customers(here: Stand, rows: int, first: int) -> float:
    """Puts in the customers that `data.customers_file` would tell of; the seconds it took."""
    began = time.perf_counter()
    pattern = await _pattern(here, first)
    tenant: UUID = pattern["tenant_id"]
    owner: Any = await asyncpg.connect(here.suite.databases["customers"].owner, command_timeout=3600)
    try:
        field = await _field(owner, tenant)
        indexes = await owner.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'customers' AND indexdef LIKE '%USING gin%'"
        )
        for table in ("customers", "custom_values"):
            await owner.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        for index in indexes:
            await owner.execute(f"DROP INDEX {index['indexname']}")
        for start in range(first + 1, first + rows, _BATCH):
            made = list(_rows(pattern, range(start, min(start + _BATCH, first + rows))))
            await owner.copy_records_to_table(
                "customers", records=[tuple(row.values()) for row in made], columns=list(pattern)
            )
            values = [
                (tenant, field, row["id"], 0, number_text(Decimal(data.seats(n))), row["created_at"])
                for n, row in enumerate(made, start)
            ]
            await owner.copy_records_to_table("custom_values", records=values, columns=_VALUE)
        await owner.execute("SET maintenance_work_mem = '512MB'")
        for index in indexes:
            await owner.execute(index["indexdef"])
        for table in ("customers", "custom_values"):
            await owner.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        await owner.execute("VACUUM (ANALYZE) customers, custom_values")
    finally:
        await owner.close()
    return time.perf_counter() - began


async def _pattern(here: Stand, number: int) -> dict[str, Any]:
    """The row of a customer that the gateway makes, with that number."""
    body = {
        "displayName": data.company(number), "level": "CUSTOMER_LEVEL_A", "phone": f"138{number:08d}", "industry": "科技",
        "customFields": {"seats": str(data.seats(number))},
    }  # fmt: skip
    made = await here.pool[0].post("/v1/customers", body)
    [row] = await here.floor.rows("customers", "SELECT * FROM customers WHERE id = $1", UUID(made["id"]))
    return dict(row)


async def _field(owner: Any, tenant: UUID) -> UUID:
    await owner.execute("ALTER TABLE custom_fields NO FORCE ROW LEVEL SECURITY")
    found = await owner.fetchval(
        "SELECT id FROM custom_fields WHERE tenant_id = $1 AND key = 'seats' AND deleted_at IS NULL", tenant
    )
    await owner.execute("ALTER TABLE custom_fields FORCE ROW LEVEL SECURITY")
    return found


def _rows(pattern: dict[str, Any], numbers: range) -> Iterator[dict[str, Any]]:
    for n in numbers:
        name, phone = data.company(n), f"+86138{n:08d}"
        found = terms(names=[name], phones=[phone], texts=[core_name(name)])
        made = pattern["created_at"] + timedelta(milliseconds=n)
        yield {
            **pattern, "id": new_id(), "created_at": made, "updated_at": made, "display_name": name, "phone": phone,
            "level": "ABC"[n % 3], "industry": data.TRADES[n % 12], "search": found.grams, "search_text": found.text,
            "custom_fields": f'{{"seats": "{data.seats(n)}"}}',
        }  # fmt: skip
