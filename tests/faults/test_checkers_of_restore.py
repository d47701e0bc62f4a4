"""The checkers of the restore drill find what a bad restore would leave, in faulty data and in running services."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from kehu_local.suite import Suite
from proof import found
from proof.agreement import copy_faults, disagreements, link_faults
from proof.checkers import RecordFound, restored_faults

TENANT = "agreeing"
ACKNOWLEDGED = {"a": ("id-a", 2), "b": ("id-b", 1)}
RESTORED = [
    RecordFound("id-a", "a", "load a 2", 2),
    RecordFound("id-b", "b", "load b 3", 3),  # written on between the acknowledgement and the point
    RecordFound("id-c", "c", "load c 1", 1),
]


def test_a_sound_restore_has_no_faults() -> None:
    assert restored_faults(ACKNOWLEDGED, RESTORED) == ([], [])


@pytest.mark.parametrize(
    "there",
    [
        RESTORED[1:],
        [RecordFound("id-x", "a", "load a 2", 2), *RESTORED[1:]],
        [RecordFound("id-a", "a", "load a 1", 1), *RESTORED[1:]],
        [RecordFound("id-a", "a", "load a 1", 2), *RESTORED[1:]],
        [*RESTORED[:2], RecordFound("id-c", "c", "load c 1", 2)],
    ],
    ids=["gone", "another", "older", "half", "half of what nobody was told"],
)
def test_what_a_restore_has_lost_is_found(there: list[RecordFound]) -> None:
    lost, doubled = restored_faults(ACKNOWLEDGED, there)
    assert (len(lost), doubled) == (1, [])


def test_what_a_restore_has_doubled_is_found() -> None:
    lost, doubled = restored_faults(ACKNOWLEDGED, [*RESTORED, RecordFound("id-d", "a", "load a 2", 2)])
    assert (lost, len(doubled)) == ([], 1)


def test_links_and_copies_that_are_wrong_are_found() -> None:
    assert link_faults("l", [("1", "x"), ("2", "y")], {"x", "y"}) == []
    assert len(link_faults("l", [("1", "x"), ("2", "z")], {"x", "y"})) == 1
    real = {"1": (100, "CNY"), "2": (5, "CNY")}
    assert copy_faults("c", dict(real), real) == []
    for kept in ({"1": (100, "CNY")}, {**real, "3": (1, "CNY")}, {**real, "1": (101, "CNY")}):
        assert len(copy_faults("c", kept, real)) == 1


@pytest.fixture(scope="module")
def tenant(suite: Suite, founded: Callable[[str], Any], eventually: Callable[..., Any]) -> str:
    """The id of a tenant with a customer, a lead that became one, an order and a ticket, when its services agree."""
    boss = founded(TENANT)
    customer = boss.post("/v1/customers", {"displayName": "Agrees"})["id"]
    price = {"currencyCode": "CNY", "units": "10"}
    product = boss.post("/v1/products", {"name": f"Pump {uuid4()}", "listPrice": price})["id"]
    order = {"customerId": customer, "lines": [{"productId": product, "quantity": "3"}]}
    boss.post("/v1/orders", order, params={"place": "true"})
    boss.post("/v1/tickets", {"subject": "Leaks", "customerId": customer})
    lead = boss.post("/v1/leads", {"name": "Han Mei", "companyName": f"Agreed {uuid4()}"})["id"]
    boss.post(f"/v1/leads/{lead}:convert", {"opportunity": {}})
    id = boss.get("/v1/tenant")["id"]
    reported = "SELECT 1 FROM orders WHERE tenant_id = $1"
    eventually(lambda: found.rows(suite, "analytics", reported, id) and not disagreements(suite, id), 60)
    return id


@contextmanager
def planted(suite: Suite, domain: str, plant: str, back: str, *values: object) -> Generator[None]:
    found.rows(suite, domain, plant, *values)
    try:
        yield
    finally:
        found.rows(suite, domain, back, *values)


@pytest.mark.parametrize(
    ("domain", "plant", "back", "said"),
    [
        (
            "analytics", "UPDATE orders SET total = total + 1 WHERE tenant_id = $1",
            "UPDATE orders SET total = total - 1 WHERE tenant_id = $1", "orders in reports",
        ),
        (
            "analytics", "UPDATE tickets SET deleted = NOT deleted WHERE tenant_id = $1",
            "UPDATE tickets SET deleted = NOT deleted WHERE tenant_id = $1", "tickets in reports",
        ),
        (
            "customers", "UPDATE customers SET last_deal_time = last_deal_time + interval '1 s' WHERE tenant_id = $1",
            "UPDATE customers SET last_deal_time = last_deal_time - interval '1 s' WHERE tenant_id = $1", "last deals",
        ),
        (
            # What a point of sales that is older than that of leads would leave.
            "sales", "UPDATE opportunities SET tenant_id = '00000000-0000-0000-0000-00000000abcd' WHERE tenant_id = $1",
            "UPDATE opportunities SET tenant_id = $1 WHERE tenant_id = '00000000-0000-0000-0000-00000000abcd'",
            "leads.leads.opportunity_id",
        ),
    ],
)  # fmt: skip
def test_services_that_do_not_agree_are_seen(
    suite: Suite, tenant: str, domain: str, plant: str, back: str, said: str
) -> None:
    with planted(suite, domain, plant, back, UUID(tenant)):
        assert any(fault.startswith(said) for fault in disagreements(suite, tenant))
    assert disagreements(suite, tenant) == []
