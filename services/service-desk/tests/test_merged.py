"""Customers and contacts that were merged: tickets follow, show the other name, and go back."""

from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from kehu.customers.v1 import events_pb2 as customers
from kehu.customers.v1 import merge_pb2
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.servicedesk.v1 import ticket_pb2 as t
from kehu.servicedesk.v1 import ticket_service_pb2 as pb

from chassis.custom_fields.given import Given
from chassis.events.subscriptions import take_in
from chassis.ids import new_id
from chassis.owners import Owner
from chassis.privacy.person import GONE
from chassis.testing import DatabaseUrls, Harness, Keys, arriving, running_service, somebody
from service_desk.listens import SUBSCRIPTIONS
from service_desk.service import SERVICE
from service_desk.ticket import Asker, open_ticket

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOSS = somebody("acme")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, service_database("servicedesk"), nats_url, keys) as harness:
        yield harness


async def _hear(desk: Harness, event: Any, version: int = 1) -> None:
    told = arriving(SUBSCRIPTIONS, event, BOSS, version=version)
    await take_in(desk.running.database, "servicedesk", [told])


async def test_tickets_follow_and_go_back(desk: Harness) -> None:
    one, two, lina, twin = (new_id() for _ in range(4))
    field = fields.CustomField(
        record_type="ticket", key="sold_to", label_en="Sold to", kind=fields.CUSTOM_FIELD_KIND_REFERENCE,
        reference_type="customer",
    )  # fmt: skip
    await desk.ask(
        BOSS, "kehu.servicedesk.v1.CustomFieldService/CreateCustomField",
        fields.CreateCustomFieldRequest(custom_field=field), fields.CustomField,
    )  # fmt: skip
    async with desk.running.database.transaction(BOSS) as tx:
        tx.seen = frozenset({("customer", str(two))})
        values = {
            "subject": "It leaks",
            "customer_id": two,
            "contact_id": twin,
            "channel": "",
            "priority": "",
            "custom_fields": Given({"sold_to": str(two)}, whole=True),
        }
        ticket = await open_ticket(tx, values, Asker("Two", "Li Na"), Owner(BOSS.person_id, None), None)

    async def now() -> tuple[str, str, str]:
        got = await desk.ask(
            BOSS,
            "kehu.servicedesk.v1.TicketService/GetTicket",
            pb.GetTicketRequest(id=str(ticket.id)),
            t.Ticket,
        )
        assert got.custom_fields["sold_to"].string_value == got.customer_id
        return got.customer_id, got.customer_name, got.contact_id

    merge, merge2 = str(new_id()), str(new_id())
    customer = customers.CustomerSnapshot(display_name="One")
    contact = customers.ContactSnapshot(display_name="李娜")
    await _hear(
        desk,
        customers.CustomerMerged(
            customer_id=str(one), customer=customer, merge_id=merge, merged_customer_ids=[str(two)]
        ),
    )
    await _hear(
        desk,
        customers.ContactMerged(
            contact_id=str(lina), contact=contact, merge_id=merge2, merged_contact_ids=[str(twin)]
        ),
    )
    assert await now() == (str(one), "One", str(lina))
    back = merge_pb2.RestoredRecord(id=str(twin), display_name="Li Na")
    await _hear(
        desk,
        customers.ContactUnmerged(
            contact_id=str(lina), contact=contact, merge_id=merge2, restored_contacts=[back]
        ),
    )
    back = merge_pb2.RestoredRecord(id=str(two), display_name="Two")
    await _hear(
        desk,
        customers.CustomerUnmerged(
            customer_id=str(one), customer=customer, merge_id=merge, restored_customers=[back]
        ),
    )
    assert await now() == (str(two), "Two", str(twin))
    rows = await desk.running.database.read(
        BOSS, "SELECT subject FROM outbox WHERE record_id = $1 ORDER BY seq", UUID(str(ticket.id))
    )
    assert [row["subject"].rpartition(".")[2] for row in rows] == ["opened", *["updated"] * 6]

    # A name that is told late is not shown, nor any after the trash was emptied; neither is a change of the ticket.
    snapshot = customers.CustomerSnapshot(display_name="2")
    named = customers.CustomerUpdated(customer_id=str(two), customer=snapshot, changed_fields=["displayName"])
    for name, version, shown in (("Two now", 9, "Two now"), ("Two then", 8, "Two now")):
        named.customer.display_name = name
        await _hear(desk, named, version)
        assert (await now())[1] == shown
    await _hear(desk, customers.CustomerPurged(customer_id=str(two)), 12)
    await _hear(desk, named, 11)
    assert (await now())[1] == GONE
    again = await desk.running.database.read(
        BOSS, "SELECT subject FROM outbox WHERE record_id = $1 ORDER BY seq", UUID(str(ticket.id))
    )
    assert again == rows
