"""Custom fields in files: columns that can be mapped to them, and cells as the values they are kept as."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from kehu.identity.v1 import person_pb2, person_service_pb2

from chassis.custom_fields.definition import Definition, Kind
from chassis.custom_fields.given import COLUMN, PREFIX, Given
from chassis.custom_fields.known import Definitions
from chassis.custom_fields.switch import CustomFields, Seen
from chassis.errors import Invalid
from chassis.imports.importer import Found, Importer, Outcome, Resolved, Resolver, by_name
from chassis.imports.mapping import Target
from chassis.imports.refused import Problem
from chassis.imports.values import (
    Amount,
    Choice,
    Day,
    Flag,
    Number,
    Read,
    Reference,
    Refused,
    Tags,
    Text,
    Value,
)
from chassis.money import Money
from chassis.owners import LOOK_UP
from chassis.rpc.call import Call

_RESOLVER = "custom field of "


@dataclass(frozen=True)
class Choices:
    """Several choices, separated as words are."""

    one: Choice

    @property
    def description(self) -> str:
        return f"Several, separated by commas. {self.one.description}"

    def read(self, text: str) -> Read:
        found = [self.one.read(word) for word in Tags(longest=200).read(text).value]
        notes = "; ".join(read.repaired for read in found if read.repaired)
        return Read(list(dict.fromkeys(read.value for read in found)), notes)


def with_custom_fields(importer: Importer, known: Definitions) -> Importer:
    """The importer with the fields that the tenant has added."""
    if importer.custom_fields is None or not known.offered:
        return importer
    targets = tuple(_target(one) for one in known.offered)
    names = {t.value.what for t in targets if isinstance(t.value, Reference)}
    resolvers = {_RESOLVER + name: _resolver(importer, importer.custom_fields, name) for name in names}
    return replace(
        importer, targets=importer.targets + targets, resolvers={**importer.resolvers, **resolvers}
    )


def _target(one: Definition) -> Target:
    label = one.label_en or one.label_zh
    aliases = tuple(name for name in (one.label_zh, one.key) if name and name != label)
    required = one.required and one.default is None
    return Target(PREFIX + one.key, label, _value(one), aliases, required)


def _value(one: Definition) -> Value:
    match one.kind:
        case Kind.TEXT:
            return Text(one.max_length, several_lines=True)
        case Kind.NUMBER:
            return Number(decimals=one.decimals)
        case Kind.MONEY:
            return Amount(negative=True)
        case Kind.DATE:
            return Day()
        case Kind.CHOICE:
            return _choice(one)
        case Kind.MULTI_CHOICE:
            return Choices(_choice(one))
        case Kind.YES_NO:
            return Flag()
        case Kind.REFERENCE:
            return Reference(_RESOLVER + one.reference_type, one.reference_type)


def _choice(one: Definition) -> Choice:
    return Choice(
        {c.key: tuple(filter(None, (c.label_zh, c.label_en))) for c in one.choices if not c.archived}
    )


def _resolver(importer: Importer, custom: CustomFields, name: str) -> Resolver:
    """How cells name such records: as elsewhere in the file, people by e-mail address or name, others by their id."""
    if name == "person":
        return find_people
    return (
        _ids_of(importer.resolvers[name]) if name in importer.resolvers else _by_id(custom.references[name])
    )


def _ids_of(resolver: Resolver) -> Resolver:
    """The same records by their ids alone, where rows need more of them: `(id, …)`."""

    async def find(call: Any, wanted: Sequence[str]) -> Resolved:
        resolved = await resolver(call, wanted)
        return {
            text: replace(one, value=one.value[0])
            if isinstance(one, Found) and isinstance(one.value, tuple)
            else one
            for text, one in resolved.items()
        }

    return find


def _by_id(seen: Seen) -> Resolver:
    async def find(call: Any, wanted: Sequence[str]) -> Resolved:
        ids = {text: id for text in wanted if (id := _id(text)) is not None}
        found = await seen(call, list(dict.fromkeys(ids.values())))
        return {text: Found(id) for text, id in ids.items() if id in found}

    return find


def _id(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None


async def find_people(call: Call, wanted: Sequence[str]) -> dict[str, Found | Refused]:
    """The ids of active people by e-mail address or by their name."""
    found = await people_found(call, wanted)
    return {
        text: replace(one, value=one.value.id) if isinstance(one, Found) else one
        for text, one in found.items()
    }


async def people_found(call: Call, wanted: Sequence[str]) -> dict[str, Found | Refused]:
    """Active people, as identity's cards, by e-mail address or by their name."""
    emails = [text for text in wanted if "@" in text]
    names = [text for text in wanted if "@" not in text]
    answer = await call.ask(
        LOOK_UP,
        person_service_pb2.LookUpPeopleRequest(emails=emails, names=names),
        person_service_pb2.LookUpPeopleResponse,
    )
    active = [p for p in answer.people if p.status == person_pb2.PERSON_STATUS_ACTIVE]
    by_email = {person.email.lower(): person for person in active}
    found: dict[str, Found | Refused] = {
        text: Found(by_email[text.lower()]) for text in emails if text.lower() in by_email
    }
    return {**found, **by_name(names, [(person.display_name, person) for person in active], "person")}


def gathered(importer: Importer, values: Mapping[str, Any]) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """A row's values with those of custom fields put together as a caller would write them; and what they refer to, which
    has been found."""
    custom = {name: value for name, value in values.items() if name.startswith(PREFIX)}
    if not custom:
        return dict(values), set()
    rest = {name: value for name, value in values.items() if name not in custom}
    given = {name.removeprefix(PREFIX): _plain(value) for name, value in custom.items()}
    seen = {
        (target.value.what, str(custom[target.field]))
        for target in importer.targets
        if target.field in custom and isinstance(target.value, Reference)
    }
    return {**rest, COLUMN: Given(given)}, seen


def _plain(value: Any) -> Any:
    match value:
        case bool() | str() | list():
            return value  # pyright: ignore[reportUnknownVariableType]
        case Decimal():
            return format(value, "f")
        case int() | UUID():
            return str(value)
        case date():
            return value.isoformat()
        case Money():
            return {"currencyCode": value.currency, "units": str(value.units), "nanos": value.nanos}
        case _:
            raise TypeError(f"{type(value).__name__} is no value of a custom field")


def refused_by(problem: Invalid) -> Outcome:
    """The row made nothing, for what a use case said of its values."""
    found = tuple(
        Problem(cell_of(violation.field), problem.reason, violation.description)
        for violation in problem.violations
    )
    return Outcome("refused", None, found)


def cell_of(field: str) -> str:
    """The field of a row that a violation names."""
    return field if field.startswith(PREFIX) else field.rpartition(".")[2]
