"""The gRPC face of the history: who changed which field when. Any service mounts it in one line.

history_face("kehu.leads.v1.HistoryService", {"lead": Kept(Lead, "leads")})
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from kehu.history.v1 import history_pb2 as pb

from chassis.errors import Invalid, NotFound
from chassis.ids import parse_id
from chassis.listing import DEFAULT_PAGE, MOST_PAGE
from chassis.mapping import to_datetime, to_timestamp
from chassis.principal import NOBODY, Act
from chassis.records import Owned, Record, Shareable
from chassis.rpc import Call, Face
from chassis.visibility import Shares, seen_also, visible_text
from chassis.wire import camel


@dataclass(frozen=True, slots=True)
class Kept:
    """A table whose history is kept, and the right by which its records are read. `right` None: anybody of the tenant, or
    whom `seen` lets see them."""

    table: type[Record]
    right: str | None
    shares: Shares | None = None
    """By which shares they are read, too; those of a Shareable table are its own."""
    through: tuple[str, str] | None = None
    """A table by whose rows they are read, too, and its column with the record's id, as a Listing has it."""
    seen: Callable[[Call, UUID], Awaitable[None]] | None = None
    """`async (call, id)`, which raises NotFound for whoever may not read the record: for records that are read by rules of
    their own."""


_ONE = "SELECT FROM {table} AS t WHERE t.id = $1 AND "
_PAGE = (
    "SELECT id, record_type, record_id, version, action, changes, at, by, by_name, origin FROM history"
    " WHERE record_type = $1 AND record_id = $2 AND (at, id) < ($3, $4) AND ($6::uuid IS NULL OR by = $6)"
    " AND ($7::text IS NULL OR origin = $7) AND ($8::timestamptz IS NULL OR at >= $8)"
    " AND ($9::timestamptz IS NULL OR at < $9) ORDER BY at DESC, id DESC LIMIT $5"
)
_ORIGINS = {
    name.removeprefix("CHANGE_ORIGIN_").lower().replace("_", " "): number
    for name, number in pb.ChangeOrigin.items()
    if number
}
"""By how transactions call where they come from."""
_WORDS = {number: word for word, number in _ORIGINS.items()}
_ACTS = {
    "created": pb.CHANGE_ACT_CREATED,
    "updated": pb.CHANGE_ACT_UPDATED,
    "deleted": pb.CHANGE_ACT_DELETED,
    "restored": pb.CHANGE_ACT_RESTORED,
}


def history_face(service: str, kept: Mapping[str, Kept]) -> Face:
    """The face of that HistoryService, by record type."""
    face = Face(service)
    # Table names come from the classes of the service, never from a request.
    sql = {name: _ONE.replace("{table}", str(vars(one.table)["__tablename__"])) for name, one in kept.items()}

    async def list_changes(request: pb.ListChangesRequest, call: Call) -> pb.ListChangesResponse:
        if request.record_type not in kept:
            known = ", ".join(kept)
            raise Invalid("recordType", f"is not kept here; there are: {known}", reason="RECORD_TYPE_UNKNOWN")
        id = parse_id(request.record_id, "recordId")
        one = kept[request.record_type]
        rule, values = _rule(call, one)
        if not await call.database.read(call.who, sql[request.record_type] + rule, id, *values):
            raise NotFound(request.record_type, id)
        if one.seen is not None:
            try:
                await one.seen(call, id)
            except NotFound:
                raise NotFound(request.record_type, id) from None
        such = (
            parse_id(request.actor_id, "actorId") if request.actor_id else None,
            _WORDS.get(request.origin),
            to_datetime(request.from_time) if request.HasField("from_time") else None,
            to_datetime(request.until_time) if request.HasField("until_time") else None,
        )
        binding = orjson.dumps(
            ["history", str(call.who.tenant_id), str(call.who.person_id), request.record_type, str(id), *map(str, such)]
        )  # fmt: skip
        before, last = _place(call, binding, request.page_token)
        size = min(request.page_size or DEFAULT_PAGE, MOST_PAGE)
        found = await call.database.read(
            call.who, _PAGE, request.record_type, id, before, last, size + 1, *such
        )
        answer = pb.ListChangesResponse(changes=[_change(row) for row in found[:size]])
        if len(found) > size:
            end = found[size - 1]
            answer.next_page_token = call.page_tokens.seal(binding, [end["at"].isoformat(), str(end["id"])])
        return answer

    face.read("ListChanges")(list_changes)
    return face


def _rule(call: Call, kept: Kept) -> tuple[str, list[object]]:
    """Who may read that history: whoever may read the record, also when it is deleted."""
    if kept.right is None:
        return "true", []
    columns = ("owner_id", "team_id") if issubclass(kept.table, Owned) else (None, None)
    own = Shares(kept.table.record_type) if issubclass(kept.table, Shareable) else None
    rule, values = visible_text(call.who, kept.right, Act.READ, *columns, first=2, shares=kept.shares or own)
    return (rule if kept.through is None else seen_also(rule, *kept.through)), values


_LATEST = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


def _place(call: Call, binding: bytes, token: str) -> tuple[datetime, UUID]:
    if not token:
        return _LATEST
    at, id = call.page_tokens.open(binding, token)
    return datetime.fromisoformat(at), UUID(id)


def _change(row: Any) -> pb.Change:
    message = pb.Change(
        id=str(row["id"]),
        record_type=row["record_type"],
        record_id=str(row["record_id"]),
        version=row["version"],
        act=_ACTS[row["action"]],
        actor_id="" if row["by"] == NOBODY else str(row["by"]),
        actor_name=row["by_name"],
        origin=_ORIGINS.get(row["origin"], pb.CHANGE_ORIGIN_UNSPECIFIED),
    )
    to_timestamp(message.change_time, row["at"])
    for column, (old, new) in sorted(row["changes"].items()):
        message.fields.add(field=field_named(column), old_value=value_told(old), new_value=value_told(new))
    return message


def field_named(column: str) -> str:
    """The name as messages have it; behind a dot stands the key of a list's entry, which is data."""
    name, dot, key = column.partition(".")
    return camel(name) + dot + key


def value_told(value: Any) -> str:
    """A value as the history shows it: a text, or JSON of what is none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
