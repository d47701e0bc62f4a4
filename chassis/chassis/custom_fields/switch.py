"""What a service declares: which of its records have custom fields, and what these may refer to."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from google.protobuf.message import Message
from kehu.identity.v1 import person_pb2, person_service_pb2

from chassis.custom_fields import index
from chassis.custom_fields.definition import Kind
from chassis.custom_fields.definitions import definitions_now
from chassis.custom_fields.field import JOB, alone, counted
from chassis.custom_fields.given import COLUMN
from chassis.custom_fields.went import WENT, as_id, led, left_now, went_by
from chassis.owners import LOOK_UP
from chassis.principal import Act
from chassis.records import Record, Shareable
from chassis.rpc.call import Call
from chassis.rpc.face import messages_of
from chassis.shares.messages import shares_told
from chassis.visibility import Holder, Shares, covers, visible_text
from chassis.wire import descriptor_of, snake

Seen = Callable[[Call, Sequence[str]], Awaitable[set[str]]]
"""`async (call, ids) -> those of the ids that name a record which the caller may see`."""
Changes = Mapping[str, Sequence[Any]]
"""Column → [before, after], custom fields one by one."""


class CustomFields:
    """The kinds of record of one service that have custom fields.

    `references` are what fields may refer to, by name. Raises ValueError for a class without the column or without a
    record type.
    """

    def __init__(self, *records: type[Record], references: Mapping[str, Seen]) -> None:
        for record in records:
            if COLUMN not in record.model_fields or not record.record_type:
                raise ValueError(f"{record.__name__} is not Customized, or has no record type")
        self.tables = {record.record_type: str(vars(record)["__tablename__"]) for record in records}
        self.records = {self.tables[record.record_type]: record for record in records}
        self.references = references

    @property
    def jobs(self) -> dict[str, Any]:
        """The background work, for the service's composition."""
        return {JOB: self._index}

    async def _index(self, payload: Mapping[str, Any], call: Call) -> None:
        """Takes the values of a field into the index, or out of it."""
        id, round = UUID(payload["field_id"]), int(payload["round"])
        database, who = call.database, call.who
        more = True
        while more:
            async with database.transaction(who, origin="job") as tx:
                more = await index.sweep(tx, id, round)
        more = True
        while more:
            async with database.transaction(who, origin="job") as tx:
                more = await index.take_in(tx, id, round, self.tables)
        async with database.transaction(who, origin="job") as tx:
            of_type = await index.type_of(tx, id)
            if of_type is None:
                return
            await alone(tx, of_type)
            if await index.finish(tx, id, round):
                await counted(tx, of_type)

    async def seen(self, call: Call, request: Message) -> frozenset[tuple[str, str]]:
        """The records that a request's custom fields refer to, as far as the caller may see them: asked before the
        transaction begins, so that no lock waits for another service."""
        field = _resource_of(request)
        if field is None:
            return frozenset()
        resource: Any = getattr(request, field)
        given = {
            key: value.string_value
            for key, value in getattr(resource, COLUMN).items()
            if value.WhichOneof("kind") == "string_value" and len(value.string_value) == 36
        }
        if not given:
            return frozenset()
        known = await definitions_now(call.database, call.who, _record_type(resource))
        wanted: dict[str, list[str]] = {}
        for key, id in given.items():
            one = known.fields.get(key)
            if one is not None and one.kind is Kind.REFERENCE:
                wanted.setdefault(one.reference_type, []).append(id.lower())
        return await self._seen(call, wanted)

    async def _seen(self, call: Call, wanted: Mapping[str, Sequence[str]]) -> frozenset[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for name, ids in wanted.items():
            if name in self.references:
                found |= {(name, id) for id in await self.references[name](call, list(dict.fromkeys(ids)))}
        return frozenset(found)

    async def former(
        self, call: Call, of_type: str, changes: Sequence[tuple[UUID, Changes]]
    ) -> tuple[list[Changes], frozenset[tuple[str, str]]]:
        """What was done to records of that type, each with its id, so that it can be undone now: where those to whom their fields
        referred have been merged since, by where these went, or by how far the record has followed them. And those of the former
        ones that the caller may see, as in `seen`."""
        known = await definitions_now(call.database, call.who, of_type)
        types = {
            f"{COLUMN}.{one.key}": one.reference_type
            for one in known.fields.values()
            if one.kind is Kind.REFERENCE
        }
        named = [(types[name], pair) for _, one in changes for name, pair in one.items() if name in types]
        ids = {id for _, pair in named for value in pair if (id := as_id(value)) is not None}
        if not ids:
            return [one for _, one in changes], frozenset()
        went = went_by([tuple(row) for row in await call.database.read(call.who, WENT, list(ids))])
        wanted: dict[str, list[str]] = {}
        for of, (before, _) in named:
            id = as_id(before)
            if id is not None:
                wanted.setdefault(of, []).append(went.get(str(id), str(id)))
        here = await self._here(call, of_type, [id for id, _ in changes]) if went else {}

        def since(id: UUID, name: str, pair: Sequence[Any]) -> Sequence[Any]:
            before, after = pair
            return [led(went, before), left_now(went, after, here.get(id, {}).get(name))]

        now: list[Changes] = [
            {name: since(id, name, pair) if name in types else pair for name, pair in one.items()}
            for id, one in changes
        ]
        return now, await self._seen(call, wanted)

    async def _here(self, call: Call, of_type: str, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """What fields of these records hold now, by the names of the columns."""
        sql = f"SELECT id, custom_fields FROM {self.tables[of_type]} WHERE id = ANY($1::uuid[])"  # noqa: S608 (the table of a class)
        rows = await call.database.read(call.who, sql, list(ids))
        return {
            UUID(str(row["id"])): {f"{COLUMN}.{key}": value for key, value in row["custom_fields"].items()}
            for row in rows
        }


def _resource_of(request: Message) -> str | None:
    """The name of the field that holds the record which a request writes, if it has values of custom fields."""
    for field, value in request.ListFields():
        if (
            field.message_type is not None
            and not field.is_repeated
            and COLUMN in field.message_type.fields_by_name
        ):
            return field.name if getattr(value, COLUMN) else None
    return None


def _record_type(resource: Message) -> str:
    return snake(descriptor_of(resource).name).lstrip("_")


def own(record: type[Record], right: str) -> Seen:
    """References to records of this service's own."""
    sql = f"SELECT t.id FROM {vars(record)['__tablename__']} t WHERE t.deleted_at IS NULL AND t.id = ANY($1::uuid[]) AND "  # noqa: S608 (the table of a class)
    owned = "owner_id" in record.model_fields
    shares = Shares(record.record_type) if issubclass(record, Shareable) else None

    async def seen(call: Call, ids: Sequence[str]) -> set[str]:
        columns = ("owner_id", "team_id") if owned else (None, None)
        rule, values = visible_text(call.who, right, Act.READ, *columns, first=2, shares=shares)
        rows = await call.database.read(call.who, sql + rule, [UUID(id) for id in ids], *values)
        return {str(row["id"]) for row in rows}

    return seen


def _holder(card: Any) -> Holder:
    shared = "shares" in descriptor_of(card).fields_by_name
    return Holder.told(card.owner_id, card.team_id, shares_told(card.shares) if shared else None)


def asking(method: str, right: str) -> Seen:
    """References to records of another service, by its method that looks up many by their `ids`, as the caller.

    A job asks as this service, which sees all of them: so the person's own reach under `right` is measured here.
    """

    async def seen(call: Call, ids: Sequence[str]) -> set[str]:
        request, answer = messages_of(method)
        found: Any = await call.ask(method, request(ids=ids), answer)
        cards = next(field.name for field in descriptor_of(found).fields if field.is_repeated)
        return {card.id for card in getattr(found, cards) if covers(_holder(card), call.who, right, Act.READ)}

    return seen


async def people(call: Call, ids: Sequence[str]) -> set[str]:
    """References to people; those who are disabled are given to no record."""
    answer = await call.ask(
        LOOK_UP,
        person_service_pb2.LookUpPeopleRequest(ids=ids),
        person_service_pb2.LookUpPeopleResponse,
    )
    return {person.id for person in answer.people if person.status == person_pb2.PERSON_STATUS_ACTIVE}
