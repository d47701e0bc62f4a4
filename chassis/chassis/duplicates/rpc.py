"""The gRPC faces of sweeps and pairs: messages of kehu.duplicates.v1 in and out. Any service mounts them in two lines.

sweeps_face("kehu.leads.v1.DuplicateSweepService", DUPLICATES), pairs_face("kehu.leads.v1.DuplicatePairService", DUPLICATES)
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from kehu.duplicates.v1 import duplicates_pb2 as pb

from chassis.database import Database, Transaction
from chassis.duplicates.pair import MERGED, SET_ASIDE, DuplicatePair, reopen, set_aside
from chassis.duplicates.runs import COUNTING, Sweeping
from chassis.duplicates.sweep import JOB, STATES, DuplicateSweep, cancel, found, start, tell
from chassis.duplicates.swept import Swept
from chassis.errors import NotFound
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing, Reading
from chassis.mapping import to_timestamp
from chassis.principal import NOBODY, Act, Principal, Reach
from chassis.record_types import for_type
from chassis.records import etag
from chassis.rpc.call import Call
from chassis.rpc.face import Face
from chassis.visibility import Holder, covers

_SHOWN_FREQUENT = 100
_SWEEPS = Listing(
    DuplicateSweep,
    right=None,
    fields={
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
        "creatorId": Field("created_by", Kind.UUID),
        "recordType": Field("kind", Kind.TEXT),
        "state": Field("state", Kind.ENUM, values=STATES, prefix="DUPLICATE_SWEEP_STATE_"),
    },
)
_PAIR_FIELDS = {
    "score": Field("score", Kind.INTEGER, sortable=True),
    "reasons": Field("reasons", Kind.TAGS),
    "sweepId": Field("sweep_id", Kind.UUID, nullable=True),
    "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
    "updateTime": Field("updated_at", Kind.TIMESTAMP),
}
_NARROWINGS = {
    "recordType": "t.kind = {}",
    "pairState": "t.state = {}",
    "recordId": "(t.first_id = {} OR t.second_id = {})",
}
_KIND = "SELECT kind FROM duplicate_pairs WHERE id = $1"
_RECORDS = "SELECT {columns} FROM {table} AS t WHERE t.id = ANY($1::uuid[])"
_COUNTS = (
    "total_records", "processed_records", "found_pairs", "new_pairs", "set_aside_pairs", "failure_reason", "failure_message",
)  # fmt: skip


class DuplicateSweeps:
    """What one service sweeps, by record type; the first is the one after which the service is named."""

    def __init__(self, *swept: Swept) -> None:
        self._swept: Mapping[str, Swept] = {one.kind: one for one in swept}
        self._pairs = {
            one.kind: Listing(
                DuplicatePair, right=None, fields=_PAIR_FIELDS, default_order="score desc", narrowings=_NARROWINGS,
                seen=one.seen,
            )
            for one in swept
        }  # fmt: skip

    @property
    def jobs(self) -> dict[str, Any]:
        """The background work, for the service's composition."""
        return {JOB: self._carry_on}

    def of(self, record_type: str) -> Swept:
        """What is swept of that type. Raises Invalid (RECORD_TYPE_UNKNOWN)."""
        return for_type(self._swept, record_type, "recordType", "cannot be swept for duplicates")

    async def _carry_on(self, payload: Mapping[str, Any], call: Call) -> None:
        id = UUID(payload["duplicate_sweep_id"])
        rows = await call.database.read(call.who, "SELECT kind FROM duplicate_sweeps WHERE id = $1", id)
        if rows:
            await Sweeping(self._swept[rows[0]["kind"]], call, id).carry_on()

    # ---- sweeps

    async def create(self, request: pb.CreateDuplicateSweepRequest, tx: Transaction) -> pb.DuplicateSweep:
        """Starts a sweep; the job takes over when the transaction has committed."""
        swept = self.of(request.record_type)
        sweep = await start(tx, swept.kind, swept.sql(COUNTING))
        tell(tx, swept.progressed, sweep)
        return await self._changed(tx, sweep)

    async def get(self, request: pb.GetDuplicateSweepRequest, call: Call) -> pb.DuplicateSweep:
        """One sweep with its progress."""
        return self._told(await _SWEEPS.get(call, request.id), call.who)

    async def list(
        self, request: pb.ListDuplicateSweepsRequest, call: Call
    ) -> pb.ListDuplicateSweepsResponse:
        """All sweeps."""
        page = await _SWEEPS.page(call, request)
        return pb.ListDuplicateSweepsResponse(
            duplicate_sweeps=[self._told(row, call.who) for row in page.rows], next_page_token=page.next_page_token
        )  # fmt: skip

    async def cancel(self, request: pb.CancelDuplicateSweepRequest, tx: Transaction) -> pb.DuplicateSweep:
        """Stops a sweep; the step in work, if any, is taken back."""
        sweep = await found(tx, parse_id(request.id, "id"))
        tx.check_etag(sweep, request.etag)
        cancel(tx, sweep)
        tell(tx, self._swept[sweep.kind].progressed, sweep)
        return await self._changed(tx, sweep)

    async def _changed(self, tx: Transaction, sweep: DuplicateSweep) -> pb.DuplicateSweep:
        await tx.session.flush()
        return self._told(sweep.model_dump(), tx.who)

    def _told(self, sweep: Any, who: Principal) -> pb.DuplicateSweep:
        message = pb.DuplicateSweep(
            id=str(sweep["id"]), etag=etag(sweep["version"]), creator_id=_person(sweep["created_by"]),
            record_type=sweep["kind"], state=pb.DuplicateSweepState.Value(f"DUPLICATE_SWEEP_STATE_{sweep['state']}"),
            frequent_value_count=sweep["frequent_values"], **{name: sweep[name] for name in _COUNTS},
        )  # fmt: skip
        swept = self._swept.get(sweep["kind"])
        if swept is not None and who.reach(str(swept.listing.right), Act.READ) is Reach.ALL:
            for reason, value in sweep["frequent"][:_SHOWN_FREQUENT]:
                message.frequent_values.add(reason=reason, value=value)
        to_timestamp(message.create_time, sweep["created_at"])
        to_timestamp(message.update_time, sweep["updated_at"])
        if sweep["ended_at"] is not None:
            to_timestamp(message.end_time, sweep["ended_at"])
        return message

    # ---- pairs

    async def get_pair(self, request: pb.GetDuplicatePairRequest, call: Call) -> pb.DuplicatePair:
        """One pair, both of whose records the caller may read."""
        row = await self._seen(call, request.id)
        return (await _pair_messages(self._swept[row["kind"]], call.database, call.who, [row]))[0]

    async def _seen(self, call: Reading, asked: str) -> Any:
        """The pair, both of whose records the caller may read. Raises NotFound."""
        id = parse_id(asked, "id")
        for row in await call.database.read(call.who, _KIND, id):
            with suppress(NotFound):  # said of all pairs in the same words
                return await self._pairs[row["kind"]].get(call, id)
        raise NotFound("duplicate pair", id)

    async def list_pairs(
        self, request: pb.ListDuplicatePairsRequest, call: Call
    ) -> pb.ListDuplicatePairsResponse:
        """Pairs both of whose records the caller may read."""
        swept = self.of(request.record_type or next(iter(self._swept)))
        state = pb.DuplicatePairState.Name(request.state or pb.DUPLICATE_PAIR_STATE_OPEN)
        such: dict[str, Any] = {
            "recordType": swept.kind,
            "pairState": state.removeprefix("DUPLICATE_PAIR_STATE_"),
        }
        if request.record_id:
            such["recordId"] = parse_id(request.record_id, "recordId")
        page = await self._pairs[swept.kind].page(call, request, such)
        return pb.ListDuplicatePairsResponse(
            duplicate_pairs=await _pair_messages(swept, call.database, call.who, page.rows),
            next_page_token=page.next_page_token,
        )

    async def set_aside(self, request: pb.SetAsideDuplicatePairRequest, tx: Transaction) -> pb.DuplicatePair:
        """Says that two records are not the same."""
        swept = self.of(request.record_type)
        pair = await set_aside(tx, swept, [parse_id(id, "recordIds") for id in request.record_ids])
        await tx.session.flush()
        return await _answer(swept, tx, pair)

    async def reopen(self, request: pb.ReopenDuplicatePairRequest, tx: Transaction) -> pb.DuplicatePair:
        """Takes that back."""
        row = await self._seen(tx, request.id)
        swept = self._swept[row["kind"]]
        pair = await reopen(tx, swept, row["id"], request.etag)
        await tx.session.flush()
        return await _answer(swept, tx, pair)


async def _answer(swept: Swept, tx: Transaction, pair: DuplicatePair) -> pb.DuplicatePair:
    return (await _pair_messages(swept, tx.database, tx.who, [pair.model_dump()]))[0]


async def _pair_messages(
    swept: Swept, database: Database, who: Principal, pairs: Sequence[Any]
) -> list[pb.DuplicatePair]:
    ids = list({pair[name] for pair in pairs for name in ("first_id", "second_id")})
    if not ids:
        return []
    rows = {row["id"]: row for row in await database.read(who, swept.sql(_RECORDS), ids)}
    cards = dict(zip(rows, await swept.cards(database, who, list(rows.values())), strict=True))
    return [_pair_message(swept, who, pair, rows, cards) for pair in pairs]


def _pair_message(
    swept: Swept, who: Principal, pair: Any, rows: Mapping[UUID, Any], cards: Mapping[UUID, pb.DuplicateRecord]
) -> pb.DuplicatePair:  # fmt: skip
    state = pair["state"]
    message = pb.DuplicatePair(
        id=str(pair["id"]), etag=etag(pair["version"]), record_type=pair["kind"], score=pair["score"],
        state=pb.DuplicatePairState.Value(f"DUPLICATE_PAIR_STATE_{state}"), reasons=pair["reasons"],
        sweep_id=str(pair["sweep_id"] or ""), merge_id=str(pair["merged_by"] or ""),
    )  # fmt: skip
    if state == SET_ASIDE:
        message.set_aside_person_id = _person(pair["set_aside_by"])
        to_timestamp(message.set_aside_time, pair["set_aside_at"])
    to_timestamp(message.create_time, pair["created_at"])
    to_timestamp(message.update_time, pair["updated_at"])
    ids: list[UUID] = sorted(
        (pair["first_id"], pair["second_id"]), key=lambda id: (rows[id]["created_at"], id)
    )
    for target, id in zip((message.first, message.second), ids, strict=True):
        # Who reads the survivor need not have been able to read what went into it.
        hidden = state == MERGED and id != pair["first_at"] and not _covered(swept, who, rows[id])
        target.CopyFrom(pb.DuplicateRecord(id=str(id)) if hidden else cards[id])
    return message


def _covered(swept: Swept, who: Principal, row: Any) -> bool:
    holder = Holder(row["owner_id"], row["team_id"], row.get("shared_with") or [])
    return covers(holder, who, str(swept.listing.right), Act.READ)


def _person(id: UUID | None) -> str:
    return "" if id is None or id == NOBODY else str(id)


def sweeps_face(service: str, sweeps: DuplicateSweeps) -> Face:
    """The face of that DuplicateSweepService."""
    face = Face(service)
    face.write("CreateDuplicateSweep")(sweeps.create)
    face.read("GetDuplicateSweep")(sweeps.get)
    face.read("ListDuplicateSweeps")(sweeps.list)
    face.write("CancelDuplicateSweep")(sweeps.cancel)
    return face


def pairs_face(service: str, sweeps: DuplicateSweeps) -> Face:
    """The face of that DuplicatePairService."""
    face = Face(service)
    face.read("GetDuplicatePair")(sweeps.get_pair)
    face.read("ListDuplicatePairs")(sweeps.list_pairs)
    face.write("SetAsideDuplicatePair")(sweeps.set_aside)
    face.write("ReopenDuplicatePair")(sweeps.reopen)
    return face
