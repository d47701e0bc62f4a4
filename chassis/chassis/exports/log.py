"""The log of exports: who took what out of the house. It is also what counts the exports in work, on all replicas.

An entry is written before the first record is read, and kept for good: the app role may not delete it. An export whose process
died is found by its lease, which is prolonged while it lives.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Text, Uuid, text
from sqlmodel import Field

from chassis.database import Database, Transaction
from chassis.errors import Exhausted
from chassis.principal import Principal
from chassis.records import Owned

RUNNING, SUCCEEDED, BROKEN_OFF = "RUNNING", "SUCCEEDED", "BROKEN_OFF"
AT_ONCE = 3
"""Exports of one tenant that one service has in work at once."""
LEASE = timedelta(seconds=60)


class Export(Owned, table=True):
    """One export. Its owner is the person who took the file."""

    __tablename__ = "exports"  # pyright: ignore[reportAssignmentType]

    owner_name: str
    kind: str
    filename: str
    format: str
    filter: str = ""
    query: str = ""
    order_by: str = ""
    columns: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    parent_id: UUID | None = None
    ids: list[UUID] = Field(default_factory=list[UUID], sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    """The records that were chosen; none where the whole list was."""
    state: str = RUNNING
    row_count: int = 0
    byte_count: int = Field(default=0, sa_type=BigInteger)
    leased_until: datetime
    ended_at: datetime | None = None
    failure_reason: str = ""


_DEAD = text(
    "UPDATE exports SET state = 'BROKEN_OFF', failure_reason = 'PROCESS_DIED', ended_at = leased_until, version = version + 1"
    " WHERE state = 'RUNNING' AND leased_until < now()"
)
_COUNT = text("SELECT count(*) FROM exports WHERE state = 'RUNNING'")


async def begin(tx: Transaction, export: Export) -> None:
    """Writes the entry. Raises Exhausted (TOO_MANY_EXPORTS) when the tenant has as many in work as it may."""
    await tx.hold("exports")
    await tx.session.execute(_DEAD)
    running = (await tx.session.execute(_COUNT)).scalar_one()
    if running >= AT_ONCE:
        raise Exhausted(
            f"{running} exports of your company are in work here already: try again when one of them has ended.",
            reason="TOO_MANY_EXPORTS",
            retry_after=5.0,
        )
    export.leased_until = tx.now + LEASE
    tx.add(export)


async def told(database: Database, who: Principal, id: UUID, rows: int, bytes_: int, ended: str = "") -> None:
    """Notes how far an export has come; `ended` is empty while it goes on, SUCCEEDED, or the reason why it broke off."""
    async with database.transaction(who, origin="export") as tx:
        export = await tx.find(Export, id)
        if export is None:
            return
        export.row_count, export.byte_count = rows, bytes_
        export.leased_until = tx.now + LEASE
        if ended:
            export.state = SUCCEEDED if ended == SUCCEEDED else BROKEN_OFF
            export.failure_reason = "" if ended == SUCCEEDED else ended
            export.ended_at = tx.now
