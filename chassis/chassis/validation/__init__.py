"""The rules that contracts state beside their fields, compiled once into checks.

What a field may be stands in the proto as `(kehu.rules.v1.field)` and `google.api.field_behavior`. A
message type becomes a table of checks on first use; a request is checked before its method runs. Values
that only answers hold (OUTPUT_ONLY) are not looked at. An update (a request with an `update_mask` beside
its resource) is checked in the fields it changes: those the mask names, or all that have a value when the
mask is empty.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from chassis.errors import Invalid, Violation
from chassis.validation.rules import (
    DEFAULT_MAX_ITEMS,
    IMMUTABLE,
    OUTPUT_ONLY,
    REQUIRED,
    One,
    behaviors,
    is_map,
    is_number,
    rules_of,
    single,
    target_of,
    text_is_clean,
)
from chassis.validation.schema import keywords
from chassis.wire import camel, descriptor_of, join

__all__ = ["FieldNotWritable", "check", "checks", "keywords"]

MAX_VIOLATIONS = 50
_MASK = "google.protobuf.FieldMask"


class FieldNotWritable(Invalid):
    """An update names a field that only the service may change."""

    reason = "FIELD_NOT_WRITABLE"


@dataclass(frozen=True, slots=True)
class NotWritable(Violation):
    """A violation by which the whole answer has the reason FIELD_NOT_WRITABLE."""


Found = list[Violation]
Check = Callable[[Message], Found]


def check(message: Message) -> None:
    """Raises Invalid naming every field of the request that breaks a rule of its contract."""
    found = checks(descriptor_of(message))(message)
    if found:
        if any(isinstance(violation, NotWritable) for violation in found):
            raise FieldNotWritable.of(found)
        raise Invalid.of(found)


_compiled: dict[Descriptor, Check] = {}
_tables: dict[Descriptor, "_Table"] = {}


def checks(descriptor: Descriptor) -> Check:
    """The compiled check of requests of that type. It answers what is wrong, or an empty list."""
    found = _compiled.get(descriptor)
    if found is None:
        found = _compiled[descriptor] = _compile(descriptor)
    return found


def _compile(descriptor: Descriptor) -> Check:
    mask = descriptor.fields_by_name.get("update_mask")
    if mask is not None and mask.message_type is not None and mask.message_type.full_name == _MASK:
        for resource in descriptor.fields:
            inner = resource.message_type
            if inner is not None and resource is not mask and not resource.is_repeated:
                return _update(descriptor, resource, inner)
    table = _table(descriptor)

    def run(message: Message) -> Found:
        found: Found = []
        table.run(message, "", found)
        return found[:MAX_VIOLATIONS]

    return run


@dataclass
class _Table:
    """The checks of one message type."""

    present: dict[FieldDescriptor, tuple[str, Callable[[Any, str, Found], None]]]
    """For fields that have a value: the JSON name and the check of (value, path, found)."""
    required: list[tuple[FieldDescriptor, str, Callable[[Message], bool], list[One]]]
    """Fields that must have a value: whether they have, and the checks that 0 must pass where 0 is a
    value.
    """

    def run(self, message: Message, path: str, found: Found, *, required: bool = True) -> None:
        present = self.present
        for field, value in message.ListFields():
            entry = present.get(field)
            if entry is not None:
                entry[1](value, join(path, entry[0]) if path else entry[0], found)
        if required:
            for field, name, missing, zero in self.required:
                _demand(message, field, join(path, name), missing, zero, found)


def _demand(
    message: Message,
    field: FieldDescriptor,
    path: str,
    missing: Callable[[Message], bool],
    zero: list[One],
    found: Found,
) -> None:
    if missing(message):
        found.append(Violation(path, "is required: give it a value"))
    elif zero and not getattr(message, field.name):
        found.extend(Violation(path, wrong) for one in zero if (wrong := one(0)) is not None)


def _table(descriptor: Descriptor) -> _Table:
    table = _tables.get(descriptor)
    if table is None:
        # Registered before it is filled, since a message may hold itself.
        table = _tables[descriptor] = _Table({}, [])
        for field in descriptor.fields:
            if OUTPUT_ONLY not in behaviors(field):
                _add(table, field)
    return table


def _add(table: _Table, field: FieldDescriptor) -> None:
    run = _field(field)
    if run is not None:
        table.present[field] = (field.json_name, run)
    if REQUIRED in behaviors(field):
        zero = single(field) if is_number(field) and not field.is_repeated and not field.has_presence else []
        table.required.append((field, field.json_name, _missing(field), zero))


def _missing(field: FieldDescriptor) -> Callable[[Message], bool]:
    name = field.name
    if field.is_repeated:
        return lambda message: len(getattr(message, name)) == 0
    if field.has_presence:
        return lambda message: not message.HasField(name)
    if field.type == FieldDescriptor.TYPE_STRING:
        return lambda message: not getattr(message, name).strip()
    if is_number(field) or field.type == FieldDescriptor.TYPE_BOOL:
        # Zero and false are values like others where the wire does not tell them from nothing.
        return lambda message: False
    return lambda message: not getattr(message, name)


def _field(field: FieldDescriptor) -> Callable[[Any, str, Found], None] | None:
    each = _each(field)
    if not field.is_repeated:
        return each
    rules = rules_of(field)
    most, fewest, unique = rules.max_items or DEFAULT_MAX_ITEMS, rules.min_items, rules.unique
    keys = is_map(field) and _key_type(field) == FieldDescriptor.TYPE_STRING

    def run(values: Any, path: str, found: Found) -> None:
        if len(values) > most:
            found.append(Violation(path, f"has {len(values):,} entries: at most {most:,} are allowed"))
            return
        if len(values) < fewest:
            found.append(Violation(path, f"must have at least {fewest:,} entries"))
        if is_map(field):
            pairs = cast("dict[Any, Any]", values).items()
            for key, value in pairs:
                place = f"{path}.{str(key)[:100]}"
                wrong = text_is_clean(key) if keys else None
                if wrong is not None:
                    found.append(Violation(place, f"its name {wrong}"))
                elif each is not None:
                    each(value, place, found)
            return
        if each is not None:
            for place, value in enumerate(values):
                each(value, f"{path}[{place}]", found)
                if len(found) >= MAX_VIOLATIONS:
                    return
        if unique:
            _twice(values, path, found)

    return run


def _key_type(field: FieldDescriptor) -> int:
    assert field.message_type is not None
    return field.message_type.fields_by_name["key"].type


def _twice(values: Sequence[Any], path: str, found: Found) -> None:
    seen: set[Any] = set()
    for place, value in enumerate(values):
        key = value.SerializeToString(deterministic=True) if isinstance(value, Message) else value
        if key in seen:
            found.append(Violation(f"{path}[{place}]", "is there already: take the repetition out"))
        seen.add(key)


def _each(field: FieldDescriptor) -> Callable[[Any, str, Found], None] | None:
    """The check of one value: its own rules, then, for a message, the rules of what is inside."""
    ones = single(field)
    target = target_of(field)
    inner = target.message_type
    if inner is not None and not inner.full_name.startswith("google."):
        table = _table(inner)
        return lambda value, path, found: table.run(value, path, found)
    if not ones:
        return None

    def run(value: Any, path: str, found: Found) -> None:
        for one in ones:
            wrong = one(value)
            if wrong is not None:
                found.append(Violation(path, wrong))
                return

    return run


# ---- updates
# ------------------------------------------------------------------------------------------------------


def _update(descriptor: Descriptor, resource: FieldDescriptor, inner: Descriptor) -> Check:
    whole = _table(inner)
    others = _Table({}, [])
    for field in descriptor.fields:
        if field is not resource:
            _add(others, field)
    # The id names the record to change, though no change can be made to it.
    id_field = inner.fields_by_name.get("id")
    naming = _Table({}, [])
    if id_field is not None:
        each = _each(id_field)
        if each is not None:
            naming.present[id_field] = (id_field.json_name, each)
        if not _only_one(descriptor):
            naming.required.append((id_field, id_field.json_name, _missing(id_field), []))

    def run(message: Message) -> Found:
        found: Found = []
        others.run(message, "", found)
        value: Message = getattr(message, resource.name)
        naming.run(value, resource.json_name, found)
        paths: Sequence[str] = getattr(message, "update_mask").paths  # noqa: B009
        if paths:
            for path in paths[:1000]:
                _masked(value, inner, path.split("."), path, resource.json_name, found)
        else:
            whole.run(value, resource.json_name, found, required=False)
        return found[:MAX_VIOLATIONS]

    return run


def _only_one(request: Descriptor) -> bool:
    """Whether the method of that request changes the only record of its kind, as its address without an id says."""
    services: Any = request.file.services_by_name
    rules = [
        method.GetOptions().Extensions[annotations_pb2.http]
        for service in services.values()
        for method in service.methods
        if method.input_type is request or method.input_type.full_name == request.full_name
    ]
    return any(rule.patch and "{" not in rule.patch for rule in rules)


def _masked(
    message: Message, descriptor: Descriptor, names: list[str], mask: str, path: str, found: Found
) -> None:
    field = descriptor.fields_by_name.get(names[0])
    if field is None:
        known = ", ".join(f.json_name for f in descriptor.fields if OUTPUT_ONLY not in behaviors(f))
        found.append(
            Violation("updateMask", f"'{camel(mask)[:100]}' is not a field: known are {known[:600]}")
        )
        return
    if not behaviors(field).isdisjoint((OUTPUT_ONLY, IMMUTABLE)):
        text = f"'{camel(mask)[:100]}' cannot be changed by an update: leave it out"
        found.append(NotWritable("updateMask", text))
        return
    below = join(path, field.json_name)
    if len(names) > 1:
        inner = field.message_type
        if field.name == "custom_fields" and len(names) == 2:
            _masked(message, descriptor, names[:1], mask, path, found)
            return
        if inner is None or field.is_repeated:
            text = f"'{camel(mask)[:100]}' names something inside {field.json_name}: name it as a whole"
            found.append(Violation("updateMask", text))
            return
        _masked(getattr(message, field.name), inner, names[1:], mask, below, found)
        return
    table = _table(descriptor)
    for required, _, missing, zero in table.required:
        if required is field:
            _demand(message, field, below, missing, zero, found)
    entry = table.present.get(field)
    if entry is not None and _is_set(message, field):
        entry[1](getattr(message, field.name), below, found)


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    if field.has_presence:
        return message.HasField(field.name)
    return bool(getattr(message, field.name))
