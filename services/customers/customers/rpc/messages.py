"""Rows as messages."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from kehu.customers.v1 import contact_pb2, customer_pb2, customer_service_pb2

from chassis.mapping import Mapping as RowMapping
from chassis.records import EPOCH, Record
from chassis.rpc import Call
from chassis.shares.messages import put_shares
from customers.contact import DECISION_ROLES
from customers.profile import CONTACT_WAYS, CUSTOMER_WAYS, Way
from customers.value_lists import ENUMS

_REACHED = [way.name for way in CUSTOMER_WAYS]
_KEYS = [f"{column}_key" for column in ENUMS]
CUSTOMER = RowMapping(
    customer_pb2.Customer, skip=["contact_count", "address", "shares", *_KEYS, *_REACHED], open_enums=ENUMS
)
CONTACT = RowMapping(contact_pb2.Contact, skip=["customer_name", "affiliations", *_REACHED])
_ROLES: "Mapping[str, contact_pb2.DecisionRole.ValueType]" = {
    "": contact_pb2.DECISION_ROLE_UNSPECIFIED,
    **{role: contact_pb2.DecisionRole.Value(f"DECISION_ROLE_{role}") for role in DECISION_ROLES},
}
Rule = TypeVar("Rule", bound=Message)
_ADDRESS = [field.name for field in customer_pb2.Address.DESCRIPTOR.fields]


def _read(row: Any, name: str) -> Any:
    return row[name] if hasattr(row, "keys") else getattr(row, name)


def _reader(row: Any) -> Callable[[str], Any]:
    return row.__getitem__ if hasattr(row, "keys") else row.__getattribute__


def rule_message(mapping: RowMapping[Rule], row: Any) -> Rule:
    """One of a tenant's rules; what holds as long as nobody has made it was changed at no time."""
    message = mapping.message(row)
    if _read(row, "updated_at") == EPOCH:
        message.ClearField("update_time")
    return message


async def rule_now(call: Call, mapping: RowMapping[Rule], query: str, first: Record) -> Rule:
    """The rule that the query reads by the id of `first`, which holds till somebody makes it."""
    rows = await call.database.read(call.who, query, first.id)
    return rule_message(mapping, rows[0] if rows else first)


def customer_message(row: Any) -> customer_pb2.Customer:
    """A customer; `row` is a row object or a row of the read path."""
    message = CUSTOMER.message(row)
    read = _reader(row)
    message.size_key, message.level_key = read("size"), read("level")
    message.stage_key, message.source_key = read("stage"), read("source")
    address = read("address")
    if address:
        _put_address(message.address, address)
    _put_entries(message, CUSTOMER_WAYS, read)
    if shared := read("shared_with"):
        put_shares(message.shares, shared, datetime.now(UTC))
    return message


def _put_entries(message: Any, ways: Sequence[Way], read: Callable[[str], Any]) -> None:
    for way in ways:
        entries = way.entries(read)
        if not entries:
            continue
        add, name, primary = getattr(message, way.name).add, way.value, True
        for entry in entries:
            # Setting fields one by one takes a fraction of giving them to the constructor.
            out = add()
            if way.name == "addresses":
                _put_address(out.address, entry[name])
            else:
                setattr(out, name, entry[name])
            if entry["label"]:
                out.label = entry["label"]
            if primary:
                out.primary = True
                primary = False


def _put_address(out: customer_pb2.Address, parts: Mapping[str, str]) -> None:
    out.SetInParent()
    for name, part in parts.items():
        setattr(out, name, part)


def contact_message(row: Any) -> contact_pb2.Contact:
    """A contact, as it stands with its primary customer."""
    message = CONTACT.message(row)
    _put_entries(message, CONTACT_WAYS, _reader(row))
    return message


def contact_at(row: Any, customer_id: UUID) -> contact_pb2.Contact:
    """A contact, as it stands with that customer."""
    message = contact_message(row)
    if _read(row, "customer_id") != customer_id:
        there = next(one for one in _read(row, "affiliations") if one["customer_id"] == str(customer_id))
        _stand_at(message, there)
    return message


def _stand_at(message: contact_pb2.Contact, there: Mapping[str, Any]) -> None:
    message.customer_id, message.title, message.department = (
        there["customer_id"],
        there["title"],
        there["department"],
    )
    message.decision_role = _ROLES[there["decision_role"]]
    message.reports_to_id = there["reports_to_id"] or ""
    message.primary = False
    message.owner_id = message.team_id = ""


@dataclass(frozen=True, slots=True)
class Named:
    """What is shown of a customer to which a contact belongs."""

    display_name: str
    owner_id: UUID | None
    team_id: UUID | None
    seen: bool
    """Whether the caller may see the customer."""


def affiliated_message(row: Any, customers: Mapping[UUID, Named]) -> contact_pb2.Contact:
    """A contact with the customers it belongs to, as far as the caller may see them. Whoever may not see the primary one sees the
    contact as it stands with the first of the others."""
    message = contact_message(row)
    home = customers.get(_read(row, "customer_id"))
    others = [
        (one, found)
        for one in _read(row, "affiliations")
        if (found := customers.get(UUID(one["customer_id"]))) is not None and found.seen
    ]
    if home is not None and home.seen:
        message.customer_name = home.display_name
        message.affiliations.add(
            customer_id=message.customer_id, customer_name=home.display_name, title=message.title,
            department=message.department, decision_role=message.decision_role, reports_to_id=message.reports_to_id,
            primary=True,
        )  # fmt: skip
    elif others:
        there, found = others[0]
        _stand_at(message, there)
        message.customer_name = found.display_name
        message.owner_id, message.team_id = str(found.owner_id or ""), str(found.team_id or "")
    for one, found in others:
        message.affiliations.add(
            customer_id=one["customer_id"], customer_name=found.display_name, title=one["title"],
            department=one["department"], decision_role=_ROLES[one["decision_role"]],
            reports_to_id=one["reports_to_id"] or "",
        )  # fmt: skip
    return message


def org_chart(customer_id: UUID, rows: Sequence[Any]) -> contact_pb2.OrgChart:
    """The rows of `reports.CHART` as the chart."""
    chart = contact_pb2.OrgChart(
        customer_id=str(customer_id), member_count=rows[0]["all_of_them"] if rows else 0
    )
    chart.cut_off_count = chart.member_count - len(rows)
    shown = Counter(row["reports_to_id"] for row in rows)
    for row in rows:
        there: Any = row
        if not row["home"]:
            there = next(one for one in row["affiliations"] if one["customer_id"] == str(customer_id))
        chart.members.add(
            contact_id=str(row["id"]), display_name=row["display_name"], title=there["title"],
            department=there["department"], decision_role=_ROLES[there["decision_role"]],
            reports_to_id=str(row["reports_to_id"] or "") if row["depth"] else "", depth=row["depth"],
            report_count=row["reports"], cut_off_report_count=row["reports"] - shown[row["id"]],
            primary_customer=row["home"], primary_contact=row["primary"],
        )  # fmt: skip
    return chart


def customer_card(row: Any) -> customer_service_pb2.CustomerCard:
    """What is needed to refer to a customer."""
    card = customer_service_pb2.CustomerCard(
        id=str(row["id"]), display_name=row["display_name"], external_key=row["external_key"],
        kind=customer_pb2.CustomerKind.Value(f"CUSTOMER_KIND_{row['kind']}"), owner_id=str(row["owner_id"] or ""),
        team_id=str(row["team_id"] or ""),
    )  # fmt: skip
    if shared := row.get("shared_with"):
        put_shares(card.shares, shared, datetime.now(UTC))
    return card


def _address(address: customer_pb2.Address) -> dict[str, str]:
    return {name: getattr(address, name) for name in _ADDRESS if getattr(address, name)}


def _entries(message: Any, way: Way) -> list[dict[str, Any]]:
    return [
        {
            "label": item.label,
            way.value: _address(item.address) if way.name == "addresses" else getattr(item, way.value),
            "primary": item.primary,
        }
        for item in getattr(message, way.name)
    ]


def customer_values(message: customer_pb2.Customer, mask: FieldMask | None = None) -> dict[str, Any]:
    """Column → value of what a client writes."""
    own: dict[str, Any] = {name: partial(_text, message, name) for name in _KEYS}
    own |= {way.name: partial(_entries, message, way) for way in CUSTOMER_WAYS}
    own["address"] = lambda: _address(message.address)
    return _values(CUSTOMER, message, mask, own)


def contact_values(message: contact_pb2.Contact, mask: FieldMask | None = None) -> dict[str, Any]:
    """Column → value of what a client writes."""
    own = {way.name: partial(_entries, message, way) for way in CONTACT_WAYS}
    return _values(CONTACT, message, mask, own)


def _text(message: Any, name: str) -> str:
    return getattr(message, name).strip()


def _values(mapping: Any, message: Any, mask: FieldMask | None, own: dict[str, Any]) -> dict[str, Any]:
    if mask is None:
        return {**mapping.values(message), **{name: read() for name, read in own.items()}}
    named = {path.split(".")[0] for path in mask.paths}
    rest = [path for path in mask.paths if path.split(".")[0] not in own]
    values: dict[str, Any] = mapping.values(message, FieldMask(paths=rest)) if rest or not named else {}
    for name, read in own.items():
        if name in named or "*" in named or (not named and read()):
            values[name] = read()
    return values
