"""The index of shares, by which lists find what is shared with somebody."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from sqlalchemy import text

from chassis.records import Shareable

if TYPE_CHECKING:
    from chassis.database import Transaction

_FORGET = text("DELETE FROM shares WHERE record_type = :type AND record_id = ANY(:ids)")
_ENTER = text(
    "INSERT INTO shares (tenant_id, record_type, record_id, grantee_id, writes, until_time)"
    " SELECT :tenant, :type, r.record, r.grantee, r.writes, r.until"
    " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(record uuid, grantee uuid, writes boolean, until timestamptz)"
)


async def keep_shares(tx: "Transaction", rows: Iterable[Shareable]) -> None:
    """Brings the index up to date with records whose shares were written, or that were deleted or restored."""
    by_type: dict[str, dict[UUID, Any]] = {}
    for row in rows:
        record: Any = row
        by_type.setdefault(record.record_type, {})[record.id] = record
    for of_type, those in by_type.items():
        entries = [
            {"record": str(row.id), "grantee": one["to"], "writes": one["writes"], "until": one["until"]}
            for row in those.values()
            if row.deleted_at is None
            for one in row.shared_with
        ]
        await tx.session.execute(_FORGET, {"type": of_type, "ids": list(those)})
        if entries:
            told = {"tenant": tx.who.tenant_id, "type": of_type, "rows": orjson.dumps(entries).decode()}
            await tx.session.execute(_ENTER, told)
