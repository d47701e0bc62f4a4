"""Rows as messages."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import contact_pb2, customer_pb2, customer_service_pb2

from chassis.mapping import Mapping
from customers.profile import CONTACT_WAYS, CUSTOMER_WAYS, Way
from customers.value_lists import ENUMS

_REACHED = [way.name for way in CUSTOMER_WAYS]
_KEYS = [f"{column}_key" for column in ENUMS]
CUSTOMER = Mapping(
    customer_pb2.Customer, skip=["contact_count", "address", *_KEYS, *_REACHED], open_enums=ENUMS
)
CONTACT = Mapping(contact_pb2.Contact, skip=["customer_name", *_REACHED])
_ADDRESS = [field.name for field in customer_pb2.Address.DESCRIPTOR.fields]


def _read(row: Any, name: str) -> Any:
    return row[name] if hasattr(row, "keys") else getattr(row, name)


def customer_message(row: Any) -> customer_pb2.Customer:
    """A customer; `row` is a row object or a row of the read path."""
    message = CUSTOMER.message(row)
    for column in ENUMS:
        setattr(message, f"{column}_key", _read(row, column))
    address = _read(row, "address")
    if address:
        message.address.CopyFrom(customer_pb2.Address(**address))
    _put_entries(message, CUSTOMER_WAYS, row)
    return message


def _put_entries(message: Any, ways: Sequence[Way], row: Any) -> None:
    read: Callable[[str], Any] = partial(_read, row)
    for way in ways:
        for place, entry in enumerate(way.entries(read)):
            value = entry[way.value]
            if way.name == "addresses":
                value = customer_pb2.Address(**value)
            getattr(message, way.name).add(**{way.value: value}, label=entry["label"], primary=place == 0)


def contact_message(row: Any, customer_name: str = "") -> contact_pb2.Contact:
    """A contact with its customer's name, if it is at hand."""
    message = CONTACT.message(row)
    _put_entries(message, CONTACT_WAYS, row)
    message.customer_name = customer_name
    return message


def customer_card(row: Any) -> customer_service_pb2.CustomerCard:
    """What is needed to refer to a customer."""
    return customer_service_pb2.CustomerCard(
        id=str(row["id"]), display_name=row["display_name"], external_key=row["external_key"],
        kind=customer_pb2.CustomerKind.Value(f"CUSTOMER_KIND_{row['kind']}"), owner_id=str(row["owner_id"] or ""),
        team_id=str(row["team_id"] or ""),
    )  # fmt: skip


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
