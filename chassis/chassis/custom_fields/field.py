"""Custom fields as rows: who may be one, and what may become of one that records have values of.

Whoever writes values holds a lock of their kind of record together with others; whoever changes definitions holds it
alone. So a change knows all values that were written by the definitions before it, and no value is written by
definitions that have gone. `version` of `custom_field_sets` counts the changes of one kind of record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, col

from chassis.custom_fields.definition import (
    DEFAULT_LENGTH,
    MOST_INDEXED,
    Definition,
    Kind,
    Unfit,
    definition_of,
    narrows,
    standing_in_the_way,
)
from chassis.database import Transaction
from chassis.errors import AlreadyExists, Invalid, Precondition, Violation
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.records import Record

MOST_FIELDS = 100
MOST_FILTERABLE = 20
JOB = "custom_field_index"


class CustomField(Record, table=True):
    """The definition of one field of one kind of record."""

    __tablename__ = "custom_fields"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "custom_field"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"indexed", "indexed_to", "round"})

    of_type: str
    """The record type that has the field."""
    key: str
    label_zh: str = ""
    label_en: str = ""
    description: str = ""
    kind: str
    required: bool = False
    default_value: Any = Field(default=None, sa_type=JSONB(none_as_null=True))  # pyright: ignore[reportArgumentType]
    filterable: bool = False
    max_length: int = 0
    decimals: int | None = None
    reference_type: str = ""
    choices: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    position: int = 0
    archived: bool = False
    indexed: bool = False
    round: int = 0
    """Counts the times the index was begun anew; work on an older one ends."""
    indexed_to: UUID | None = None
    """The last record whose values are in the index, while older records are being taken in."""

    @property
    def definition(self) -> Definition:
        """What the row says, for those who check values."""
        return definition_of(vars(self))


@dataclass(frozen=True, kw_only=True)
class CustomFieldEvent(Event):
    """What every event says of a field: whose it is, and by which name records know it."""

    custom_field_id: UUID
    record_type: str
    key: str


class CustomFieldCreated(CustomFieldEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class CustomFieldUpdated(CustomFieldEvent):
    changed_fields: list[str]


class CustomFieldDeleted(CustomFieldEvent):
    pass


def _told(field: CustomField) -> dict[str, Any]:
    return {"custom_field_id": field.id, "record_type": field.of_type, "key": field.key}


class CustomFieldInUse(Precondition):
    """Records have values that stand in the way."""

    reason = "CUSTOM_FIELD_IN_USE"

    def __init__(self, field: str, rows: int, record_type: str, what: str) -> None:
        records = f"{rows:,} {record_type} record{'s' if rows > 1 else ''}"
        text = f"{records} {'have' if rows > 1 else 'has'} {what}"
        super().__init__(
            text, violations=[Violation(f"customField.{field}", text)], metadata={"rows": str(rows)}
        )


class TooManyCustomFields(Precondition):
    reason = "TOO_MANY_CUSTOM_FIELDS"

    def __init__(self) -> None:
        super().__init__(
            f"A kind of record has at most {MOST_FIELDS} custom fields: delete one that is not used."
        )


class TooManyFilterable(Precondition):
    reason = "TOO_MANY_FILTERABLE"

    def __init__(self) -> None:
        super().__init__(
            f"A kind of record has at most {MOST_FILTERABLE} filterable fields: take the mark from another."
        )


def key_taken() -> AlreadyExists:
    """Another field of the same kind of record has the key."""
    return AlreadyExists(
        "CUSTOM_FIELD_KEY_TAKEN", "another field has this key already", field="customField.key"
    )


_ALONE = text("SELECT pg_advisory_xact_lock(custom_fields_lock(:of_type))")
_COUNT = text("INSERT INTO custom_field_sets (tenant_id, of_type, version) VALUES (:tenant, :of_type, 1)"
    " ON CONFLICT (tenant_id, of_type) DO UPDATE SET version = custom_field_sets.version + 1")  # fmt: skip


async def alone(tx: Transaction, of_type: str) -> list[CustomField]:
    """Keeps everybody else from writing values of that kind of record, and gives the definitions there are."""
    await tx.session.execute(_ALONE, {"of_type": of_type})
    found = await tx.session.execute(
        select(CustomField).where(col(CustomField.of_type) == of_type, col(CustomField.deleted_at).is_(None))
    )
    return list(found.scalars())


async def counted(tx: Transaction, of_type: str) -> None:
    """Tells all processes that the definitions have changed."""
    await tx.session.flush()
    await tx.session.execute(_COUNT, {"tenant": tx.who.tenant_id, "of_type": of_type})


async def add_field(tx: Transaction, values: Mapping[str, Any], references: frozenset[str]) -> CustomField:
    """A new field. Raises Invalid, TooManyCustomFields, TooManyFilterable, AlreadyExists (CUSTOM_FIELD_KEY_TAKEN)."""
    columns: dict[str, Any] = {**values, "id": new_id()}
    field = CustomField(**columns)
    others = await alone(tx, field.of_type)
    if len(others) >= MOST_FIELDS:
        raise TooManyCustomFields
    if any(other.key == field.key for other in others):
        raise key_taken()
    field.position = field.position or max((other.position for other in others), default=0) + 1
    _check(field, references)
    if field.filterable:
        _check_filterable(field, others)
        field.indexed = True  # no record has a value: the key is new
    tx.add(field)
    tx.record(CustomFieldCreated(**_told(field)), on=field)
    await counted(tx, field.of_type)
    return field


async def change_field(
    tx: Transaction, field: CustomField, values: Mapping[str, Any], references: frozenset[str], table: str
) -> None:
    """Changes a definition. Raises what `add_field` does, and CustomFieldInUse for what values stand in the way of."""
    changed = {name: value for name, value in values.items() if getattr(field, name) != value}
    if not changed:
        return
    others = [other for other in await alone(tx, field.of_type) if other.id != field.id]
    before = field.definition
    said = {name: getattr(field, name) for name in _SAID}
    for name, value in changed.items():
        setattr(field, name, value)
    if "kind" in changed:
        _forget_others(field, values)
    _check(field, references)
    after = field.definition
    if narrows(before, after):
        with tx.session.no_autoflush:
            rows, some = standing_in_the_way(before, after, await _values(tx, table, field.key))
        if rows:
            named = next(
                n for n in ("kind", "reference_type", "choices", "max_length", "decimals") if n in changed
            )
            shown = ", ".join(repr(value)[:40] for value in some)
            what = f"a value that it could not hold then, such as {shown}"
            raise CustomFieldInUse(_CAMEL.get(named, named), rows, field.of_type, what)
    if field.filterable and not before.filterable:
        _check_filterable(field, others)
    if field.filterable != before.filterable or (field.filterable and after.kind is not before.kind):
        await _begin_index(tx, field)
    # Another kind takes along what only the one before had.
    differing = [name for name, value in said.items() if getattr(field, name) != value]
    tx.record(CustomFieldUpdated(**_told(field), changed_fields=differing), on=field)
    await counted(tx, field.of_type)


_SAID = (
    "label_zh", "label_en", "description", "kind", "required", "default_value", "filterable", "max_length", "decimals",
    "reference_type", "choices", "position", "archived",
)  # fmt: skip
"""What a definition says."""


def _forget_others(field: CustomField, given: Mapping[str, Any]) -> None:
    """Takes away what only the kind before had, unless the caller says it of the new one."""
    kind = Kind(field.kind)
    if kind is not Kind.TEXT and "max_length" not in given:
        field.max_length = 0
    if kind is not Kind.NUMBER and "decimals" not in given:
        field.decimals = None
    if kind is not Kind.REFERENCE and "reference_type" not in given:
        field.reference_type = ""
    if kind not in (Kind.CHOICE, Kind.MULTI_CHOICE) and "choices" not in given:
        field.choices = []


_CAMEL = {"max_length": "maxLength", "reference_type": "referenceType"}


async def delete_field(tx: Transaction, field: CustomField, table: str) -> None:
    """Deletes a field that no record has a value of. Raises CustomFieldInUse."""
    await alone(tx, field.of_type)
    rows = sum(number for _, number in await _values(tx, table, field.key))
    if rows:
        raise CustomFieldInUse("id", rows, field.of_type, "a value of this field: archive it instead")
    if field.filterable:
        field.filterable = False
        await _begin_index(tx, field)
    tx.delete(field)
    tx.record(CustomFieldDeleted(**_told(field)), on=field)
    await counted(tx, field.of_type)


async def _begin_index(tx: Transaction, field: CustomField) -> None:
    """Has the values of all records taken into the index, or out of it, in the background."""
    field.indexed = False
    field.indexed_to = None
    field.round += 1
    await tx.enqueue(JOB, {"field_id": str(field.id), "round": field.round}, key=f"{field.id} {field.round}")


async def _values(tx: Transaction, table: str, key: str) -> list[tuple[Any, int]]:
    """The values that records have of a field, deleted ones among them, which may come back; each with their number."""
    found = await tx.session.execute(
        text(
            f"SELECT custom_fields -> :key AS value, count(*) AS rows FROM {table}"  # noqa: S608 (the table of a class)
            " WHERE jsonb_exists(custom_fields, :key) GROUP BY 1"
        ).columns(value=JSONB),
        {"key": key},
    )
    return [(row.value, row.rows) for row in found]


def _check(field: CustomField, references: frozenset[str]) -> None:
    """Raises Invalid for a definition that is none."""
    found: list[Violation] = []

    def wrong(name: str, text: str) -> None:
        found.append(Violation(f"customField.{name}", text))

    kind = Kind(field.kind)
    if not field.label_zh and not field.label_en:
        wrong("labelZh", "a field needs a label in Chinese or in English")
    if kind is Kind.REFERENCE and field.reference_type not in references:
        known = ", ".join(sorted(references))
        problem = Invalid(
            "customField.referenceType", f"'{field.reference_type}' is unknown here; there are: {known}"
        )
        problem.reason = "REFERENCE_TYPE_UNKNOWN"
        raise problem
    if kind is not Kind.REFERENCE and field.reference_type:
        wrong("referenceType", "goes only with a reference")
    _check_choices(field, kind, wrong)
    if kind is not Kind.TEXT and field.max_length:
        wrong("maxLength", "goes only with a text")
    if kind is not Kind.NUMBER and field.decimals is not None:
        wrong("decimals", "goes only with a number")
    if kind is Kind.TEXT and field.filterable and (field.max_length or DEFAULT_LENGTH) > MOST_INDEXED:
        wrong("maxLength", f"is more than {MOST_INDEXED} characters, which cannot be filterable")
    if not found and field.default_value is not None:
        if kind is Kind.REFERENCE:
            wrong("defaultValue", "a reference has none")
        else:
            try:
                field.default_value = field.definition.value(field.default_value)
                field.definition.check_offered(field.default_value, None)
            except Unfit as unfit:
                wrong("defaultValue", str(unfit))
    if found:
        raise Invalid.of(found)


def _check_choices(field: CustomField, kind: Kind, wrong: Any) -> None:
    if kind not in (Kind.CHOICE, Kind.MULTI_CHOICE):
        if field.choices:
            wrong("choices", "go only with a choice")
        return
    if not field.choices:
        wrong("choices", "a field of choices needs one at least")
    seen: set[str] = set()
    for place, choice in enumerate(field.choices):
        if choice["key"] in seen:
            wrong(f"choices[{place}].key", f"'{choice['key']}' is there already")
        seen.add(choice["key"])
        if not choice["label_zh"] and not choice["label_en"]:
            wrong(f"choices[{place}].labelZh", "a choice needs a label in Chinese or in English")


def _check_filterable(field: CustomField, others: list[CustomField]) -> None:
    if sum(other.filterable for other in others) >= MOST_FILTERABLE:
        raise TooManyFilterable
