"""Values of custom fields: what a value is, the order of the texts by which they are found, and masks that name them."""

import math
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.type import money_pb2
from hypothesis import given
from hypothesis import strategies as st
from kehu.customers.v1 import customer_pb2, customer_service_pb2

from chassis import wire
from chassis.custom_fields.definition import (
    Choice,
    Definition,
    Kind,
    Unfit,
    amount_of,
    money_text,
    narrows,
    number_text,
    standing_in_the_way,
)
from chassis.custom_fields.given import Given
from chassis.errors import Invalid
from chassis.mapping import Mapping, change
from chassis.validation import check

NUMBERS = st.decimals(min_value=-(10**15) + 1, max_value=10**15 - 1, places=6, allow_nan=False)
CHOICES = (Choice("a", "甲", "A"), Choice("b", "乙", "B"), Choice("c", "丙", "C", archived=True))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=5,
)


def one(kind: Kind, **said: Any) -> Definition:
    values: dict[str, Any] = {"choices": CHOICES, "reference_type": "customer", **said}
    return Definition(uuid4(), "key", kind, **values)


@given(NUMBERS, NUMBERS)
def test_the_order_of_texts_is_that_of_numbers(a: Decimal, b: Decimal) -> None:
    assert (number_text(a) < number_text(b)) == (a < b)
    assert (money_text(a, "CNY") < money_text(b, "AED")) == (a < b)


def test_the_order_holds_at_the_ends() -> None:
    ends = [
        Decimal(text) for text in ("-999999999999999.999999", "-1", "-0.000001", "0", "0.000001", "9", "10")
    ]
    texts = [number_text(number) for number in ends]
    assert texts == sorted(texts) and len({len(text) for text in texts}) == 1


@given(st.sampled_from(list(Kind)), ANYTHING)
def test_what_is_kept_is_a_value_and_stays_one(kind: Kind, anything: Any) -> None:
    """Whatever is given is refused with words, or kept in a form that reads back as itself, can travel and has a place in
    the index."""
    field = one(kind)
    try:
        kept = field.value(anything)
    except Unfit as unfit:
        assert str(unfit)
        return
    assert kept is None or field.holds(kept)
    if kept is not None:
        assert field.value(kept) == kept
        assert all(field.index_texts(kept))
        told = wire.from_dict(customer_pb2.Customer, {"customFields": {"key": kept}})
        assert wire.to_dict(told) == {"customFields": {"key": kept}}


@given(NUMBERS, st.sampled_from(["CNY", "JPY", "KWD"]))
def test_money_is_kept_exactly(amount: Decimal, currency: str) -> None:
    units, nanos = int(amount), int((amount - int(amount)).scaleb(9))
    try:
        kept = one(Kind.MONEY).value({"currencyCode": currency, "units": units, "nanos": nanos})
    except Unfit as unfit:
        assert "finer" in str(unfit)
        return
    assert amount_of(kept) == amount
    # What is kept is google.type.Money in JSON, so that whoever knows one knows the other.
    told = wire.from_dict(money_pb2.Money, kept)
    assert (told.units, told.nanos, told.currency_code) == (units, nanos, currency)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_json_numbers_are_taken_as_they_are_written(number: float) -> None:
    try:
        kept = one(Kind.NUMBER).value(number)
    except Unfit:
        assert not math.isfinite(number) or abs(number) >= 1e15 or Decimal(repr(number)) % Decimal("1e-6")
        return
    assert Decimal(kept) == Decimal(repr(number))


@given(st.sampled_from(list(Kind)), st.sampled_from(list(Kind)), st.lists(ANYTHING, max_size=8))
def test_no_change_of_kind_leaves_a_value_that_is_none(
    before: Kind, after: Kind, anything: list[Any]
) -> None:
    """Values that no row stands in the way of are values of the new kind, as they stand."""
    old, new = one(before), one(after)
    kept: list[Any] = []
    for value in anything:
        try:
            kept.append(old.value(value))
        except Unfit:
            continue
    kept = [value for value in kept if value is not None]
    rows, _ = standing_in_the_way(old, new, [(value, 1) for value in kept])
    if rows == 0:
        assert all(new.holds(value) for value in kept)
    if before is after:
        assert rows == 0
    assert narrows(old, new) == (before is not after)


def test_some_changes_lose_nothing() -> None:
    text, number, day = one(Kind.TEXT), one(Kind.NUMBER), one(Kind.DATE)
    for before, after, values, standing in (
        (number, text, ["1", "-2.5"], 0),
        (day, text, ["2026-05-01"], 0),
        (text, number, ["1", "12.50", "many"], 1),
        (text, day, ["2026-05-01", "2026-02-30", "soon"], 2),
        (text, one(Kind.CHOICE), ["a", "c", "z"], 1),
        (one(Kind.CHOICE), one(Kind.CHOICE, choices=CHOICES[:1]), ["a", "b"], 1),
        (one(Kind.CHOICE), one(Kind.MULTI_CHOICE), ["a"], 1),
        (text, one(Kind.TEXT, max_length=3), ["abc", "abcd"], 1),
        (number, one(Kind.NUMBER, decimals=1), ["1.5", "1.25"], 1),
        (text, one(Kind.REFERENCE), [str(uuid4())], 1),
        (one(Kind.REFERENCE), one(Kind.REFERENCE, reference_type="person"), [str(uuid4())], 1),
    ):
        rows, some = standing_in_the_way(before, after, [(value, 7) for value in values])
        assert rows == 7 * standing and len(some) == standing, (before, after)
        assert narrows(before, after) or not standing


_OWN = ("phones", "emails", "addresses", "accounts", "size_key", "level_key", "stage_key", "source_key")
CUSTOMER = Mapping(customer_pb2.Customer, skip=["address", "contact_count", "shares", *_OWN])


def given_by(paths: list[str] | None, **custom: Any) -> Any:
    message = wire.from_dict(customer_pb2.Customer, {"displayName": "A", "customFields": custom})
    mask = None if paths is None else FieldMask(paths=paths)
    return CUSTOMER.values(message, mask)


def test_masks_name_one_or_all() -> None:
    assert given_by(None, a=1)["custom_fields"] == Given({"a": 1}, whole=True)
    assert given_by([], a=1, b=None) == {"display_name": "A", "custom_fields": Given({"a": 1, "b": None})}
    assert given_by([]) == {"display_name": "A"}
    assert given_by(["custom_fields.a", "custom_fields.c"], a=1, b=2) == {
        "custom_fields": Given({"a": 1, "c": None})
    }
    both = given_by(["display_name", "custom_fields.a"], a=1, b=2)
    assert both == {"display_name": "A", "custom_fields": Given({"a": 1})}
    assert given_by(["custom_fields"], b=2) == {"custom_fields": Given({"b": 2}, whole=True)}
    assert given_by(["custom_fields", "custom_fields.a"], b=2)["custom_fields"].whole
    assert given_by(["*"], a=1)["custom_fields"].whole


def test_masks_on_the_wire_keep_the_keys() -> None:
    asked: dict[str, Any] = {
        "customer": {},
        "updateMask": "customFields.budget_owner,displayName,customFields",
    }
    read = wire.from_dict(customer_service_pb2.UpdateCustomerRequest, asked)
    assert list(read.update_mask.paths) == ["custom_fields.budget_owner", "display_name", "custom_fields"]
    assert wire.to_dict(read)["updateMask"] == asked["updateMask"]
    for wrong in ("customFields.a.b", "customFields.", "customFields.A", "displayName.x_y"):
        with pytest.raises(Invalid):
            wire.from_dict(customer_service_pb2.UpdateCustomerRequest, {**asked, "updateMask": wrong})
    id = str(uuid4())
    checked = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=id), update_mask=FieldMask(paths=["custom_fields.x"])
    )
    check(checked)
    checked.update_mask.paths[:] = ["custom_fields.x.y"]
    with pytest.raises(Invalid):
        check(checked)


def test_a_value_is_bounded_as_a_whole() -> None:
    """However it is nested, before anybody looks at what the field is."""
    fits = {"customFields": {"x": [["y" * 1000]] * 60}}
    for custom, refused in ((fits, False), ({"customFields": {"x": [["y" * 1000]] * 70}}, True)):
        customer = wire.from_dict(customer_pb2.Customer, {"displayName": "A", **custom})
        request = customer_service_pb2.CreateCustomerRequest(customer=customer)
        if not refused:
            check(request)
            continue
        with pytest.raises(Invalid) as caught:
            check(request)
        assert [v.field for v in caught.value.violations] == ["customer.customFields.x"]


def test_changes_are_named_one_by_one() -> None:
    class Row:
        name = "a"
        custom_fields: dict[str, Any] = {"x": "1", "y": "2"}  # noqa: RUF012 (a row for a test)

    changed = change(Row(), {"name": "a", "custom_fields": {"x": "1", "y": "3", "z": True}})
    assert changed == ["custom_fields.y", "custom_fields.z"]
