"""A lead's notes follow it to its customer once: what is gone from the customer since does not come again. How it was reached
goes to a contact only where whoever converted it may change that."""

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from kehu.attachments.v1 import attachments_pb2 as files_pb
from kehu.customers.v1 import contact_pb2, contact_service_pb2
from kehu.leads.v1 import events_pb2 as leads
from kehu.leads.v1 import lead_pb2, lead_service_pb2
from kehu.notes.v1 import notes_pb2

from chassis.ids import new_id
from chassis.papers import drop_papers
from chassis.testing import DatabaseUrls, Harness, Keys, answering, eventually, running_service
from customers.customer import Customer
from customers.service import SERVICE
from customers.testing import Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOTE = str(new_id())
CUSTOMERS: dict[str, str] = {}
"""Lead → the customer that it has become."""
CONTACTS: dict[str, str] = {}
"""Lead → the contact that it was joined to."""


def _lead(asked: lead_service_pb2.GetLeadRequest) -> lead_pb2.Lead:
    return lead_pb2.Lead(
        id=asked.id,
        status=lead_pb2.LEAD_STATUS_CONVERTED,
        customer_id=CUSTOMERS[asked.id],
        contact_id=CONTACTS.get(asked.id, ""),
        email="lead@x.example",
        convert_time=Timestamp(seconds=1),
    )


def _notes(asked: notes_pb2.ListNotesRequest) -> notes_pb2.ListNotesResponse:
    note = notes_pb2.Note(id=NOTE, record_type="lead", record_id=asked.record_id, text="rang")
    note.create_time.FromDatetime(datetime.now(UTC))
    return notes_pb2.ListNotesResponse(notes=[note])


def _files(asked: files_pb.ListAttachmentsRequest) -> files_pb.ListAttachmentsResponse:
    return files_pb.ListAttachmentsResponse()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    answers: dict[str, Any] = {
        "kehu.leads.v1.LeadService/GetLead": (lead_service_pb2.GetLeadRequest, _lead),
        "kehu.leads.v1.NoteService/ListNotes": (notes_pb2.ListNotesRequest, _notes),
        "kehu.leads.v1.AttachmentService/ListAttachments": (files_pb.ListAttachmentsRequest, _files),
    }
    async with (
        answering(answers) as there,
        running_service(
            SERVICE, service_database("customers"), nats_url, keys, addresses={"leads": there}
        ) as harness,
    ):
        yield harness


async def test_a_conversion_that_is_told_again_brings_nothing_back(company: Company) -> None:
    customer, lead = await company.customer(), str(new_id())
    CUSTOMERS[lead] = customer
    told = leads.LeadConverted(lead_id=lead, lead=leads.LeadSnapshot(customer_id=customer))
    database = company.service.running.database

    async def count(sql: str) -> int:
        return int((await database.read(company.who, sql))[0]["n"])

    async def done() -> bool:
        return not await count("SELECT count(*) AS n FROM jobs WHERE kind = 'papers of a lead'")

    async def hear() -> None:
        assert await company.hear(told) == 1
        await eventually(done, 60)

    await hear()
    assert await count("SELECT count(*) AS n FROM notes") == 1
    # As the emptying of the trash, or an erasure, leaves it.
    async with database.transaction(company.who) as tx:
        await drop_papers(tx, Customer.record_type, [UUID(customer)])
    await hear()
    assert await count("SELECT count(*) AS n FROM notes") == 0


async def test_a_contact_of_another_customer_is_changed_by_who_may_change_it_there(company: Company) -> None:
    home, joined = await company.customer(), await company.customer()
    database = company.service.running.database
    kehu = "kehu.customers.v1.ContactService/"
    contact = contact_pb2.Contact(
        display_name="张三", customer_id=home, affiliations=[contact_pb2.Affiliation(customer_id=joined)]
    )
    made = await company.service.ask(
        company.who, kehu + "CreateContact", contact_service_pb2.CreateContactRequest(contact=contact), contact_pb2.Contact
    )  # fmt: skip

    async def emails() -> list[str]:
        (row,) = await database.read(
            company.who, "SELECT emails::text AS e FROM contacts WHERE id = $1", UUID(made.id)
        )
        return [one["address"] for one in orjson.loads(row["e"])]

    async def done() -> bool:
        rows = await database.read(company.who, "SELECT id FROM jobs WHERE kind = 'papers of a lead'")
        return not rows

    async def convert(customer: str, changes_contact: bool) -> list[str]:
        lead = str(new_id())
        CUSTOMERS[lead], CONTACTS[lead] = customer, made.id
        snapshot = leads.LeadSnapshot(customer_id=customer, contact_id=made.id)
        await company.hear(leads.LeadConverted(lead_id=lead, lead=snapshot, changes_contact=changes_contact))
        await eventually(done, 60)
        return await emails()

    assert await convert(joined, changes_contact=False) == []
    assert await convert(joined, changes_contact=True) == ["lead@x.example"]
    # Who may change the customer may change its own contacts.
    request = contact_service_pb2.UpdateContactRequest(
        contact=contact_pb2.Contact(id=made.id), update_mask=FieldMask(paths=["emails"])
    )
    await company.service.ask(company.who, kehu + "UpdateContact", request, contact_pb2.Contact)
    assert await convert(home, changes_contact=False) == ["lead@x.example"]
