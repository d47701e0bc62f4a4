"""What the survivor of a merge has afterwards, field by field: plain values in, plain values out.

The survivor's own value stays where it is not empty, else the first of the others' that is not is taken; a choice names whose
is taken instead, empty or not. Entries, tags and free texts are joined; of entries those of the one chosen come first, of tags
and texts they are taken alone.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

from chassis.errors import Invalid
from customers.profile import CONTACT_WAYS, CUSTOMER_WAYS, Entries, Way

_MOST_ENTRIES, _MOST_TAGS, _LONGEST_TEXT = 20, 50, 10_000
_CUSTOM = "customFields."

CUSTOMER_FIELDS: Mapping[str, tuple[str, ...]] = {
    "displayName": ("display_name",), "type": ("type",), "industry": ("industry",), "size": ("size",), "region": ("region",),
    "level": ("level",), "stage": ("stage",), "source": ("source",), "website": ("website",), "taxNumber": ("tax_number",),
    "registrationNumber": ("registration_number",), "annualRevenue": ("annual_revenue", "annual_revenue_currency"),
    "employeeCount": ("employee_count",), "yearEstablished": ("year_established",), "externalKey": ("external_key",),
    "originLeadId": ("origin_lead_id",),
}  # fmt: skip
"""The fields that take one value, with their columns."""
CONTACT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "displayName": ("display_name",), "title": ("title",), "department": ("department",),
    "decisionRole": ("decision_role",), "birthday": ("birthday",), "externalKey": ("external_key",),
    "originLeadId": ("origin_lead_id",),
}  # fmt: skip
CUSTOMER_TEXTS, CONTACT_TEXTS = ("needs", "notes"), ("notes",)
Choices = Mapping[str, UUID]


def choosable(*, customers: bool) -> list[str]:
    """The fields of which a merge can choose whose value is taken, but for those of the tenant's own."""
    fields, texts = (CUSTOMER_FIELDS, CUSTOMER_TEXTS) if customers else (CONTACT_FIELDS, CONTACT_TEXTS)
    ways = [way.name for way in (CUSTOMER_WAYS if customers else CONTACT_WAYS)]
    return [*fields, *(("parentCustomerId", "tags") if customers else ()), *ways, *texts]


def check_choices(choices: Choices, ids: Sequence[UUID], *, customers: bool, custom: set[str]) -> None:
    """Raises Invalid for a choice of a field that cannot be chosen, or of a record that is not merged."""
    known = choosable(customers=customers)
    for name, id in choices.items():
        if name not in known and name.removeprefix(_CUSTOM) not in custom:
            raise Invalid(
                f"fieldChoices.{name[:60]}", "is no field that can be chosen", reason="FIELD_NOT_WRITABLE"
            )
        if id not in ids:
            raise Invalid(f"fieldChoices.{name}", f"{id} is none of the records that are merged")


def joined_customer(rows: Sequence[Any], choices: Choices) -> dict[str, Any]:
    """Column → value of the survivor; it is the first of the rows."""
    values = _joined(rows, choices, CUSTOMER_FIELDS, CUSTOMER_TEXTS, CUSTOMER_WAYS)
    tagged = [_by_id(rows, choices["tags"])] if "tags" in choices else rows
    values["tags"] = list(dict.fromkeys(tag for row in tagged for tag in row.tags))[:_MOST_TAGS]
    for name in ("last_contact_time", "last_deal_time", "last_service_time"):
        values[name] = max(_times(rows, name), default=None)
    values["next_contact_time"] = min(_times(rows, "next_contact_time"), default=None)
    return values


def _times(rows: Sequence[Any], name: str) -> list[datetime]:
    found: list[datetime | None] = [getattr(row, name) for row in rows]
    return [at for at in found if at is not None]


def joined_contact(rows: Sequence[Any], choices: Choices) -> dict[str, Any]:
    """Column → value of the survivor; it is the first of the rows."""
    return _joined(rows, choices, CONTACT_FIELDS, CONTACT_TEXTS, CONTACT_WAYS)


def _joined(
    rows: Sequence[Any], choices: Choices, fields: Mapping[str, tuple[str, ...]], texts: Sequence[str], ways: Sequence[Way]
) -> dict[str, Any]:  # fmt: skip
    values: dict[str, Any] = {}
    for name, columns in fields.items():
        chosen = _chosen(rows, choices.get(name), attrgetter(columns[0]))
        values |= {column: getattr(chosen, column) for column in columns}
    for name in texts:
        written: list[str] = [getattr(row, name) for row in rows if getattr(row, name)]
        joined = "\n\n".join(dict.fromkeys(written))[:_LONGEST_TEXT]
        values[name] = getattr(_by_id(rows, choices[name]), name) if name in choices else joined
    for way in ways:
        first = [_by_id(rows, choices[way.name])] if way.name in choices else []
        values |= way.kept(_entries(way, [*first, *rows]))
    custom: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in rows for key in row.custom_fields):
        value = _of(_chosen(rows, choices.get(f"{_CUSTOM}{key}"), partial(_of, key=key)), key)
        if value is not None:
            custom[key] = value
    values["custom_fields"] = custom
    return values


def _of(row: Any, key: str) -> Any:
    return row.custom_fields.get(key)


def _chosen(rows: Sequence[Any], choice: UUID | None, read: Callable[[Any], Any]) -> Any:
    if choice is not None:
        return _by_id(rows, choice)
    return next((row for row in rows if read(row) not in (None, "", 0, [], {})), rows[0])


def _by_id(rows: Sequence[Any], id: UUID) -> Any:
    return next(row for row in rows if row.id == id)


def _entries(way: Way, rows: Sequence[Any]) -> Entries:
    out: Entries = []
    for row in rows:
        for entry in row.entries(way.name):
            same = [one for one in out if one[way.value] == entry[way.value]]
            if way.value == "account":
                same = [one for one in same if one["label"] == entry["label"]]
            if not same and len(out) < _MOST_ENTRIES:
                out.append({"label": entry["label"], way.value: entry[way.value]})
    return out
