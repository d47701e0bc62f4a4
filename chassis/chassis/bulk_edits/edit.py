"""Bulk edits as rows: what is wanted, which records were chosen, how far it is.

Who is chosen is settled when an edit is started, as one row for each record: so what the edit itself changes moves no record
out of its filter or into it, and every row says what became of its record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.acting import acting
from chassis.custom_fields.known import Definitions
from chassis.database import Transaction
from chassis.errors import Exhausted, NotFound, Precondition
from chassis.events.event import OwnedEvent
from chassis.giving_up import begun_again
from chassis.listing import Listing
from chassis.owners import Owner
from chassis.principal import Act, Principal, Reach
from chassis.records import Record

RUNNING, SUCCEEDED, CANCELLED, FAILED = "RUNNING", "SUCCEEDED", "CANCELLED", "FAILED"
UNDOING, UNDONE = "UNDOING", "UNDONE"
ENDED = (SUCCEEDED, CANCELLED, FAILED)
JOB = "bulk_edit"
UNDO_JOB = "bulk_edit_undo"
"""The kinds of the jobs of edits that change fields, tags or owners."""
MOST_RECORDS = 100_000
AT_ONCE = 3
"""Edits of one tenant that one service has at work at once."""
KEPT_FOR = timedelta(days=7)
ORIGIN = "bulk edit"
"""Where changes come from, as their history says."""


def job_of(kind: str, action: str) -> str:
    """The kind of the job of an edit: those of each action are a kind of their own. A version of the service that does not know
    the action, beside this one or after it has been put back, takes none of them."""
    return f"{kind} {action}" if action else kind


class BulkEdit(Record, table=True):
    """A bulk edit. `processed_records` is the cursor: records up to that place are done, wholly and once."""

    __tablename__ = "bulk_edits"  # pyright: ignore[reportAssignmentType]

    kind: str
    filter: str = ""
    given: dict[str, Any] = Field(default_factory=dict[str, Any], sa_type=JSONB)
    """New values, as the body of the record's Update method has them."""
    fields: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    add_tags: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    remove_tags: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    new_owner_id: UUID | None = None
    new_team_id: UUID | None = None
    action: str = ""
    """What is done in place of such a change, with its reason and note."""
    reason: str = ""
    note: str = ""
    started_as: dict[str, Any] = Field(default_factory=dict[str, Any], sa_type=JSONB)
    """Who started it, with the rights they had then."""
    state: str = RUNNING
    total_records: int = 0
    processed_records: int = 0
    changed_records: int = 0
    unchanged_records: int = 0
    refused_records: int = 0
    ended_at: datetime | None = None
    failures: int = 0
    """How often the batch at `failed_at` has failed for a reason that does not lie in a record."""
    failed_at: int = -1
    failure_reason: str = ""
    failure_message: str = ""
    undo_state: str = ""
    undo_as: dict[str, Any] = Field(default_factory=dict[str, Any], sa_type=JSONB)
    undone_records: int = 0
    kept_records: int = 0


@dataclass(frozen=True, kw_only=True)
class Progress:
    record_type: str
    state: str
    total_records: int
    processed_records: int
    changed_records: int
    unchanged_records: int
    refused_records: int
    undone_records: int
    kept_records: int


@dataclass(frozen=True, kw_only=True)
class BulkEditProgressed(OwnedEvent):
    """Recorded with every batch. Its owner is whoever is at work on the edit."""

    bulk_edit_id: UUID
    progress: Progress


class TooManyRecords(Precondition):
    """More are chosen than one edit may change."""

    reason = "TOO_MANY_RECORDS"

    def __init__(self) -> None:
        super().__init__(f"More than {MOST_RECORDS:,} records are chosen: narrow the filter.")


class BulkEditEnded(Precondition):
    """Only an edit in state RUNNING can be cancelled."""

    reason = "BULK_EDIT_ENDED"


class BulkEditNotEnded(Precondition):
    """Only an edit that has ended can be undone."""

    reason = "BULK_EDIT_NOT_ENDED"


class BulkEditUndone(Precondition):
    """The edit is undone, or being undone, already."""

    reason = "BULK_EDIT_UNDONE"


class BulkEditNotUndone(Precondition):
    """Only an undoing keeps records."""

    reason = "BULK_EDIT_NOT_UNDONE"


class UndoExpired(Precondition):
    """It is too late."""

    reason = "UNDO_EXPIRED"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What becomes of each record: new values as JSON with the fields that are named, tags, and an owner; or an action, with its
    reason and note."""

    given: dict[str, Any]
    fields: Sequence[str]
    add_tags: Sequence[str]
    remove_tags: Sequence[str]
    owner: Owner | None
    action: str = ""
    reason: str = ""
    note: str = ""


def wanted_of(edit: BulkEdit) -> Wanted:
    """What an edit wants."""
    owner = None if edit.new_owner_id is None else Owner(edit.new_owner_id, edit.new_team_id)
    return Wanted(
        edit.given, edit.fields, edit.add_tags, edit.remove_tags, owner, edit.action, edit.reason, edit.note
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which records: those named, or those of a filter."""

    ids: Sequence[UUID]
    filter: str

    def readable(
        self, listing: Listing, who: Principal, custom: Definitions | None, args: list[object]
    ) -> str:
        """Selects the ids of those that `who` may read; values go behind those in `args`. Raises Invalid naming filter."""
        sql = listing.ids(who, self.filter, custom, args)
        if self.ids:
            args.append(list(self.ids))
            # Composed of a numbered place.
            sql += f" AND t.id = ANY(${len(args)}::uuid[])"
        return sql


_RUNNING = text("SELECT count(*) FROM bulk_edits WHERE state = 'RUNNING'")
# {readable} is what the listing makes of declared columns.
_BY_FILTER = (
    "INSERT INTO bulk_edit_records (tenant_id, bulk_edit_id, place, record_id, state, changes, reason, message)"
    " SELECT $1, $2, row_number() OVER (ORDER BY c.id), c.id, 'WAITING', '{}', '', '' FROM ({readable} LIMIT {most}) AS c"
)
_BY_IDS = (
    "INSERT INTO bulk_edit_records (tenant_id, bulk_edit_id, place, record_id, state, changes, reason, message)"
    " SELECT $1, $2, row_number() OVER (ORDER BY w.id), w.id, CASE WHEN c.id IS NULL THEN 'REFUSED' ELSE 'WAITING' END, '{}',"
    " CASE WHEN c.id IS NULL THEN 'NOT_FOUND' ELSE '' END,"
    " CASE WHEN c.id IS NULL THEN 'there is no such record, or you may not see it' ELSE '' END"
    " FROM unnest($3::uuid[]) AS w(id) LEFT JOIN ({readable}) AS c ON c.id = w.id"
)


async def start(
    tx: Transaction, listing: Listing, wanted: Wanted, chosen: Chosen, custom: Definitions | None
) -> BulkEdit:
    """Settles who is chosen and lets the edit begin. Raises Exhausted (TOO_MANY_BULK_EDITS), TooManyRecords, Invalid."""
    await tx.hold("bulk edits")
    if (await tx.session.execute(_RUNNING)).scalar_one() >= AT_ONCE:
        raise Exhausted(
            f"{AT_ONCE} bulk edits of your company are at work here already: try again when one of them has ended.",
            reason="TOO_MANY_BULK_EDITS",
            retry_after=5.0,
        )
    await forget(tx)
    edit = BulkEdit(
        kind=listing.record_type, filter=chosen.filter, given=wanted.given, fields=list(wanted.fields),
        add_tags=list(wanted.add_tags), remove_tags=list(wanted.remove_tags), started_as=acting(tx.who),
        new_owner_id=wanted.owner.person_id if wanted.owner else None,
        new_team_id=wanted.owner.team_id if wanted.owner else None,
        action=wanted.action, reason=wanted.reason, note=wanted.note,
    )  # fmt: skip
    tx.add(edit)
    await tx.session.flush()
    args: list[object] = [tx.who.tenant_id, edit.id]
    if chosen.ids:
        args.append(list(chosen.ids))
        sql = _BY_IDS.replace("{readable}", chosen.readable(listing, tx.who, custom, args))
    else:
        sql = _BY_FILTER.replace("{readable}", chosen.readable(listing, tx.who, custom, args))
        sql = sql.replace("{most}", str(MOST_RECORDS + 1))
    connection = await tx.session.connection()
    driver: Any = (await connection.get_raw_connection()).driver_connection
    edit.total_records = int(str(await driver.execute(sql, *args)).rpartition(" ")[2])
    if edit.total_records > MOST_RECORDS:
        raise TooManyRecords
    if edit.total_records == 0:
        edit.state, edit.ended_at = SUCCEEDED, tx.now
    else:
        await tx.enqueue(job_of(JOB, edit.action), {"bulk_edit_id": str(edit.id)}, key=str(edit.id))
    return edit


def tell(tx: Transaction, progressed: type[BulkEditProgressed] | None, edit: BulkEdit) -> None:
    """Records how far an edit is, for those who look on."""
    if progressed is None:
        return
    progress = Progress(
        record_type=edit.kind, state=edit.undo_state or edit.state, total_records=edit.total_records,
        processed_records=edit.processed_records, changed_records=edit.changed_records,
        unchanged_records=edit.unchanged_records, refused_records=edit.refused_records,
        undone_records=edit.undone_records, kept_records=edit.kept_records,
    )  # fmt: skip
    tx.record(
        progressed(
            bulk_edit_id=edit.id, owner_id=tx.who.person_id, team_id=tx.who.team_id, progress=progress
        ),
        on=edit,
    )


def may_see(who: Principal, creator: UUID, right: str) -> bool:
    """Whether that person may see edits of that creator: their own, and all of them with the write reach ALL."""
    return creator == who.person_id or who.reach(right, Act.WRITE) is Reach.ALL


async def own_edit(tx: Transaction, id: UUID, rights: dict[str, str]) -> BulkEdit:
    """The edit, locked; `rights` says by record type under which right it stands. Raises NotFound."""
    edit = await tx.find(BulkEdit, id)
    if edit is None or not may_see(tx.who, edit.created_by, rights[edit.kind]):
        raise NotFound("bulk edit", id)
    return edit


def cancel(tx: Transaction, edit: BulkEdit) -> None:
    """Stops an edit; what it has changed stays. Raises BulkEditEnded."""
    if edit.state != RUNNING:
        raise BulkEditEnded(f"The edit is {edit.state} already.")
    edit.state, edit.ended_at = CANCELLED, tx.now


def expiry(state: str, undo_state: str, ended: datetime | None) -> datetime | None:
    """Until when an edit can be undone; None when it cannot."""
    return None if state not in ENDED or undo_state or ended is None else ended + KEPT_FOR


async def undo(tx: Transaction, edit: BulkEdit) -> None:
    """Lets the undoing begin. Raises BulkEditNotEnded, BulkEditUndone, UndoExpired."""
    if edit.state == RUNNING:
        raise BulkEditNotEnded("The edit is RUNNING: cancel it before it is undone.")
    if edit.undo_state:
        raise BulkEditUndone(f"The edit is {edit.undo_state} already.")
    until = expiry(edit.state, edit.undo_state, edit.ended_at)
    if until is None or until < tx.now:
        raise UndoExpired("A bulk edit can be undone for seven days after it has ended.")
    edit.undo_as, edit.undo_state = acting(tx.who), UNDOING
    begun_again(edit)
    await tx.enqueue(job_of(UNDO_JOB, edit.action), {"bulk_edit_id": str(edit.id)}, key=str(edit.id))


async def forget(tx: Transaction) -> None:
    """Drops what was noted of edits that can be undone no longer, some thousand at a time: called when another begins. What was
    refused is kept."""
    await tx.session.execute(
        text(
            "DELETE FROM bulk_edit_records WHERE (bulk_edit_id, place) IN (SELECT r.bulk_edit_id, r.place"
            " FROM bulk_edit_records r JOIN bulk_edits e ON e.id = r.bulk_edit_id WHERE e.state <> 'RUNNING'"
            " AND e.undo_state <> 'UNDOING' AND e.ended_at < :before AND r.state IN ('CHANGED', 'UNCHANGED', 'UNDONE')"
            " LIMIT 5000)"
        ),
        {"before": tx.now - KEPT_FOR - timedelta(days=1)},
    )
