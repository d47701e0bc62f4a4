"""Bulk edits: looked at before, done as each record's own update, refused one by one, undone afterwards."""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value
from kehu.bulkedits.v1 import bulk_edits_pb2 as pb
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
    pool_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.identity.v1 import person_pb2, person_service_pb2
from sqlalchemy import text

from chassis import following
from chassis.bulk_edits import edit as bulk_edit
from chassis.bulk_edits import runs
from chassis.bulk_edits.runs import Running, Undoing
from chassis.errors import Code, Problem
from chassis.giving_up import MOST_UNREAD, Unreadable
from chassis.ids import new_id
from chassis.owners import Owner
from chassis.principal import Principal, Reach, Rights
from chassis.testing import (
    DatabaseUrls,
    Harness,
    Keys,
    answering,
    eventually,
    kinds_of_jobs,
    refused,
    running_service,
    somebody,
    together,
)
from chassis.wire import from_dict, snake, to_dict
from customers.customer import Customer
from customers.ownership import assign_customers
from customers.rpc.bulk_edits import BULK_EDITS
from customers.service import SERVICE
from customers.testing import CUSTOMERS, Company
from customers.trash import TrashItem

pytestmark = pytest.mark.asyncio(loop_scope="module")
EDITS = "kehu.customers.v1.BulkEditService/"
CONTACTS = "kehu.customers.v1.ContactService/"
FIELDS = "kehu.customers.v1.CustomFieldService/"
LI = str(new_id())
GONE: set[str] = set()
"""Who was disabled."""
TEAMS: dict[str, UUID] = {}
"""Who is in a team."""
ENDED = {
    pb.BULK_EDIT_STATE_SUCCEEDED, pb.BULK_EDIT_STATE_CANCELLED, pb.BULK_EDIT_STATE_FAILED, pb.BULK_EDIT_STATE_UNDONE,
}  # fmt: skip


def looked_up(request: person_service_pb2.LookUpPeopleRequest) -> person_service_pb2.LookUpPeopleResponse:
    status = person_pb2.PERSON_STATUS_DISABLED if LI in GONE else person_pb2.PERSON_STATUS_ACTIVE
    known = person_service_pb2.PersonCard(
        id=LI, display_name="李娜", email="li@acme.example", status=status, team_id=str(TEAMS.get(LI, ""))
    )
    return person_service_pb2.LookUpPeopleResponse(people=[known] if LI in request.ids else [])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    answers = {
        "kehu.identity.v1.PersonService/LookUpPeople": (person_service_pb2.LookUpPeopleRequest, looked_up)
    }
    async with (
        answering(answers) as identity,
        running_service(
            SERVICE, service_database("customers"), nats_url, keys, addresses={"identity": identity}
        ) as harness,
    ):
        yield harness


def change(values: dict[str, Any] | None = None, **more: Any) -> pb.BulkChange:
    made = pb.BulkChange(**more)
    if values is not None:
        made.values.CopyFrom(from_dict(Value, values))
    return made


async def start(
    company: Company, what: pb.BulkChange, who: Principal | None = None, **chosen: Any
) -> pb.BulkEdit:
    chosen.setdefault("record_type", "customer")
    request = pb.CreateBulkEditRequest(change=what, **chosen)
    return await company.service.ask(who or company.who, EDITS + "CreateBulkEdit", request, pb.BulkEdit)


async def get(company: Company, id: str, who: Principal | None = None) -> pb.BulkEdit:
    return await company.service.ask(
        who or company.who, EDITS + "GetBulkEdit", pb.GetBulkEditRequest(id=id), pb.BulkEdit
    )


async def ended(company: Company, id: str) -> pb.BulkEdit:
    async def over() -> bool:
        return (await get(company, id)).state in ENDED

    await eventually(over, 60)
    return await get(company, id)


async def run(
    company: Company, what: pb.BulkChange, who: Principal | None = None, **chosen: Any
) -> pb.BulkEdit:
    """The edit, done."""
    return await ended(company, (await start(company, what, who, **chosen)).id)


async def undone(company: Company, id: str, who: Principal | None = None) -> pb.BulkEdit:
    begun = await company.service.ask(
        who or company.who, EDITS + "UndoBulkEdit", pb.UndoBulkEditRequest(id=id), pb.BulkEdit
    )
    assert begun.state == pb.BULK_EDIT_STATE_UNDOING

    async def over() -> bool:
        return (await get(company, id)).state == pb.BULK_EDIT_STATE_UNDONE

    await eventually(over, 60)
    return await get(company, id)


async def preview(
    company: Company, what: pb.BulkChange, who: Principal | None = None, **chosen: Any
) -> pb.PreviewBulkEditResponse:
    chosen.setdefault("record_type", "customer")
    request = pb.PreviewBulkEditRequest(change=what, **chosen)
    return await company.service.ask(
        who or company.who, EDITS + "PreviewBulkEdit", request, pb.PreviewBulkEditResponse
    )


async def file(company: Company, name: str, id: str) -> list[dict[str, str]]:
    request: Any = getattr(pb, f"{name}Request")(id=id)
    answer = await company.service.ask(company.who, EDITS + name, request, HttpBody)
    return list(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"))))


async def customer(company: Company, who: Principal | None = None, **values: Any) -> str:
    request = customer_service_pb2.CreateCustomerRequest(
        customer=from_dict(customer_pb2.Customer, {"displayName": "客户", **values})
    )
    made = await company.service.ask(
        who or company.who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer
    )
    return made.id


async def now(company: Company, id: str) -> dict[str, Any]:
    request = customer_service_pb2.GetCustomerRequest(id=id)
    return to_dict(
        await company.service.ask(company.who, CUSTOMERS + "GetCustomer", request, customer_pb2.Customer)
    )


async def update(company: Company, id: str, values: dict[str, Any]) -> None:
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=from_dict(customer_pb2.Customer, {"id": id, **values}),
        update_mask=FieldMask(paths=[snake(name) for name in values]),
    )
    await company.service.ask(company.who, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer)


async def history(company: Company, id: str) -> list[tuple[str, str, list[str]]]:
    rows = await company.service.running.database.read(
        company.who,
        "SELECT action, origin, changes FROM history WHERE record_id = $1 ORDER BY version",
        UUID(id),
    )
    return [(row["action"], row["origin"], sorted(row["changes"])) for row in rows]


async def events(company: Company, id: str) -> list[str]:
    rows = await company.service.running.database.read(
        company.who, "SELECT type FROM outbox WHERE record_id = $1 ORDER BY id", UUID(id)
    )
    return [row["type"].rpartition(".")[2] for row in rows]


async def own_field(company: Company, key: str, kind: str = "TEXT", **said: Any) -> str:
    field = from_dict(
        fields.CustomField,
        {"recordType": "customer", "key": key, "labelEn": key, "kind": f"CUSTOM_FIELD_KIND_{kind}", **said},
    )
    request = fields.CreateCustomFieldRequest(custom_field=field)
    made = await company.service.ask(company.who, FIELDS + "CreateCustomField", request, fields.CustomField)
    return made.id


async def test_a_preview_says_what_would_become_of_the_first_and_changes_nothing(company: Company) -> None:
    ids = [await customer(company, region="一区", tags=["old"]) for _ in range(23)]
    before = [await now(company, id) for id in ids]
    found = await preview(
        company, change({"region": "二区", "levelKey": "A"}, add_tags=["vip"], remove_tags=["old"]), filter='region = "一区"'
    )  # fmt: skip
    assert (found.count, len(found.records)) == (23, 20)
    for one in found.records:
        shown = {field.field: (field.before, field.after) for field in one.fields}
        assert shown == {"region": ("一区", "二区"), "level": ("", "A"), "tags": ('["old"]', '["vip"]')}
        assert one.reason == ""
    assert [await now(company, id) for id in ids] == before
    assert [len(await history(company, id)) for id in ids] == [1] * 23


async def test_a_preview_says_who_would_be_refused(company: Company) -> None:
    li = replace(company.who, person_id=UUID(LI), rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    theirs, ours, missing = await customer(company, li), await customer(company), str(uuid4())
    found = await preview(company, change({"region": "x"}), li, ids=[theirs, ours, missing])
    assert found.count == 2
    assert {one.record_id: one.reason for one in found.records} == {
        theirs: "", ours: "RECORD_READ_ONLY", missing: "NOT_FOUND",
    }  # fmt: skip
    listed = await preview(company, change({"levelKey": "Z"}), ids=[ours])
    assert [one.reason for one in listed.records] == ["VALUE_UNKNOWN"]


async def test_records_are_changed_as_their_own_update_changes_them(company: Company) -> None:
    await own_field(company, "tier")
    ids = [await customer(company, region="一区", phone="010 1234 5678") for _ in range(3)]
    same = await customer(company, region="二区", industry="IT", customFields={"tier": "gold"}, tags=["vip"])
    done = await run(
        company, change({"region": "二区", "industry": "IT", "customFields": {"tier": "gold"}}, add_tags=["vip"]),
        ids=[*ids, same],
    )  # fmt: skip
    assert done.state == pb.BULK_EDIT_STATE_SUCCEEDED
    assert (done.total_records, done.changed_records, done.unchanged_records, done.refused_records) == (
        4,
        3,
        1,
        0,
    )
    for id in ids:
        is_now = await now(company, id)
        assert (is_now["region"], is_now["industry"], is_now["tags"]) == ("二区", "IT", ["vip"])
        assert is_now["customFields"] == {"tier": "gold"} and is_now["phones"]
        assert (await history(company, id))[1:] == [
            ("updated", "bulk edit", ["custom_fields.tier", "industry", "region", "tags"])
        ]
        assert await events(company, id) == ["CustomerCreated", "CustomerUpdated"]
    assert len(await history(company, same)) == 1
    assert to_dict(done.change)["values"]["region"] == "二区"
    progressed = await events(company, done.id)
    assert progressed[0] == "BulkEditProgressed" and len(progressed) >= 2


async def test_a_named_field_without_a_value_becomes_empty(company: Company) -> None:
    await own_field(company, "tier")
    id = await customer(company, region="一区", needs="many", customFields={"tier": "gold"})
    await run(company, change({}, fields=["region", "customFields.tier"]), ids=[id])
    is_now = await now(company, id)
    assert "region" not in is_now and "customFields" not in is_now and is_now["needs"] == "many"


async def test_who_is_chosen_is_settled_when_it_starts(company: Company) -> None:
    """The edit moves its records out of its own filter, and reaches them all."""
    before = runs.BATCH
    runs.BATCH = 4
    try:
        ids = [await customer(company, region="一区") for _ in range(11)]
        done = await run(company, change({"region": "二区"}), filter='region = "一区"')
    finally:
        runs.BATCH = before
    assert (done.total_records, done.changed_records) == (11, 11)
    assert [(await now(company, id))["region"] for id in ids] == ["二区"] * 11
    empty = await start(company, change({"region": "二区"}), filter='region = "一区"')
    assert (empty.state, empty.total_records) == (pb.BULK_EDIT_STATE_SUCCEEDED, 0)


async def test_what_cannot_be_changed_is_refused_by_itself(company: Company) -> None:
    parent = await customer(company, displayName="Parent")
    child = await customer(company, displayName="Child", parentCustomerId=parent)
    li = replace(company.who, person_id=UUID(LI), rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    theirs = await customer(company, li)
    ours, gone = await customer(company), str(uuid4())
    done = await run(company, change({"parentCustomerId": child}), ids=[parent, ours, gone])
    assert (done.changed_records, done.refused_records) == (1, 2)
    reasons = {row["Record"]: row["Reason"] for row in await file(company, "GetRefusedRecords", done.id)}
    assert reasons == {parent: "CUSTOMER_CIRCLE", gone: "NOT_FOUND"}
    assert (await now(company, ours))["parentCustomerId"] == child
    assert "parentCustomerId" not in await now(company, parent)
    done = await start(company, change({"region": "x"}), li, filter="createTime > 2001-01-01")
    done = await ended(company, done.id)
    assert (done.changed_records, done.refused_records) == (1, 3)
    assert (await now(company, theirs))["region"] == "x"
    told = {row["Record"]: row["Reason"] for row in await file(company, "GetRefusedRecords", done.id)}
    assert set(told.values()) == {"RECORD_READ_ONLY"} and theirs not in told


async def test_most_may_be_refused(company: Company) -> None:
    """Every value of this list is unknown: nothing is written, and each record has its reason."""
    ids = [await customer(company) for _ in range(30)]
    done = await run(company, change({"levelKey": "Z", "region": "x"}), ids=ids)
    assert (done.state, done.refused_records) == (pb.BULK_EDIT_STATE_SUCCEEDED, 30)
    assert {row["Reason"] for row in await file(company, "GetRefusedRecords", done.id)} == {"VALUE_UNKNOWN"}
    assert [len(await history(company, id)) for id in ids] == [1] * 30


async def test_owners_change_as_by_assigning(company: Company) -> None:
    id = await customer(company)
    contact = await company.service.ask(
        company.who, CONTACTS + "CreateContact",
        contact_service_pb2.CreateContactRequest(contact=contact_pb2.Contact(customer_id=id, display_name="Li")),
        contact_pb2.Contact,
    )  # fmt: skip
    done = await run(company, change(owner_id=LI), ids=[id])
    assert (await now(company, id))["ownerId"] == LI
    assert await events(company, id) == ["CustomerCreated", "CustomerAssigned"]
    asked = contact_service_pb2.GetContactRequest(id=contact.id)
    found = await company.service.ask(company.who, CONTACTS + "GetContact", asked, contact_pb2.Contact)
    assert found.owner_id == LI
    back = await undone(company, done.id)
    assert (back.undone_records, back.kept_records) == (1, 0)
    assert (await now(company, id))["ownerId"] == str(company.who.person_id)
    nobody = start(company, change(owner_id=str(uuid4())), ids=[id])
    await refused(Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND", nobody)
    clerk = replace(company.who, person_id=new_id(), rights={"customers": Rights(Reach.OWN, Reach.OWN)})
    await refused(
        Code.PERMISSION_DENIED, "OWNER_OUT_OF_REACH", start(company, change(owner_id=LI), clerk, ids=[id])
    )
    of_contacts = start(company, change(owner_id=LI), record_type="contact", ids=[contact.id])
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", of_contacts)


async def test_records_go_to_the_trash_and_come_back(company: Company) -> None:
    """As by deleting each: with all that goes with it, by who may delete it, and from the trash back as it was."""
    parent, again, gone = [await customer(company, region="east_china") for _ in range(3)]
    child = await customer(company, parentCustomerId=parent)
    asked: Any = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(customer_id=gone, display_name="Li")
    )
    contact = await company.service.ask(company.who, CONTACTS + "CreateContact", asked, contact_pb2.Contact)
    get_contact = contact_service_pb2.GetContactRequest(id=contact.id)

    async def there(id: str) -> bool:
        try:
            await now(company, id)
        except Problem as problem:
            assert problem.code is Code.NOT_FOUND
            return False
        return True

    delete, ids = change(action="delete"), [parent, again, gone]
    shown = await preview(company, delete, ids=ids)
    assert {one.record_id: one.reason for one in shown.records} == {
        parent: "CUSTOMER_HAS_CHILDREN", again: "", gone: "",
    }  # fmt: skip
    assert all([await there(id) for id in ids])
    # Who may not even read is told nothing.
    clerk = replace(company.who, person_id=new_id(), rights={"customers": Rights(Reach.OWN, Reach.OWN)})
    none = await run(company, delete, clerk, ids=ids)
    assert {row["Reason"] for row in await file(company, "GetRefusedRecords", none.id)} == {"NOT_FOUND"}
    mixed = start(company, change({"needs": "x"}, action="delete"), ids=ids)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", mixed)

    done = await run(company, delete, ids=ids)
    assert (done.changed_records, done.refused_records) == (2, 1)
    assert [await there(id) for id in ids] == [True, False, False]
    await refused(
        Code.NOT_FOUND, "NOT_FOUND",
        company.service.ask(company.who, CONTACTS + "GetContact", get_contact, contact_pb2.Contact),
    )  # fmt: skip
    assert (await events(company, gone))[-1] == "CustomerDeleted"
    # One that somebody has restored and deleted again since is not the edit's any longer.
    restore = trash_service_pb2.RestoreTrashItemRequest(id=again)
    await company.service.ask(
        company.who, "kehu.customers.v1.TrashService/RestoreTrashItem", restore, trash_pb2.TrashItem
    )
    asked = customer_service_pb2.DeleteCustomerRequest(id=again)
    await company.service.ask(company.who, CUSTOMERS + "DeleteCustomer", asked, Empty)
    back = await undone(company, done.id)
    assert (back.undone_records, back.kept_records) == (1, 1)
    (row,) = await file(company, "GetKeptRecords", done.id)
    assert (row["Record"], row["Reason"]) == (again, "CHANGED_SINCE")
    assert [await there(id) for id in ids] == [True, False, True] and await there(child)
    assert (await now(company, gone))["region"] == "east_china"
    found = await company.service.ask(company.who, CONTACTS + "GetContact", get_contact, contact_pb2.Contact)
    assert found.customer_id == gone
    assert (await events(company, gone))[-1] == "CustomerRestored"

    # A contact whose customer went after it stays where it is.
    done = await run(company, delete, record_type="contact", ids=[contact.id])
    assert done.changed_records == 1
    asked = customer_service_pb2.DeleteCustomerRequest(id=gone)
    await company.service.ask(company.who, CUSTOMERS + "DeleteCustomer", asked, Empty)
    back = await undone(company, done.id)
    (row,) = await file(company, "GetKeptRecords", done.id)
    assert (back.kept_records, row["Reason"]) == (1, "CUSTOMER_IN_TRASH")


async def test_nothing_is_given_back_to_somebody_who_has_left(company: Company) -> None:
    """As by assigning: a record whose former owner was disabled meanwhile stays, and is named."""
    ids = [await customer(company), await customer(company)]
    await run(company, change(owner_id=LI), ids=ids[:1])
    mine = str(company.who.person_id)
    done = await run(company, change({"needs": "ERP"}, owner_id=mine), ids=ids)
    assert done.changed_records == 2
    GONE.add(LI)
    try:
        back = await undone(company, done.id)
    finally:
        GONE.clear()
    assert (back.undone_records, back.kept_records) == (1, 1)
    (row,) = await file(company, "GetKeptRecords", done.id)
    assert (row["Record"], row["Reason"]) == (ids[0], "OWNER_NOT_FOUND") and LI in row["Message"]
    found = [await now(company, id) for id in ids]
    assert [(one["ownerId"], one.get("needs", "")) for one in found] == [(mine, "ERP"), (mine, "")]


async def test_nobody_is_asked_about_whose_records_are_not_given_back(company: Company) -> None:
    """Somebody has given one on since: its former owner has left, and what is theirs no longer goes back all the same."""
    given, other = new_id(), await customer(company)
    await run(company, change(owner_id=LI), ids=[other])
    done = await run(company, change({"needs": "ERP"}, owner_id=str(company.who.person_id)), ids=[other])
    async with company.service.running.database.transaction(company.who) as tx:
        row = await tx.find(Customer, UUID(other))
        assert row is not None
        await assign_customers(tx, [row], Owner(given, None))
    GONE.add(LI)
    try:
        back = await undone(company, done.id)
    finally:
        GONE.clear()
    (row,) = await file(company, "GetKeptRecords", done.id)
    assert back.kept_records == 1
    assert (row["Reason"], row["Message"]) == ("CHANGED_SINCE", "somebody has changed ownerId since")
    found = await now(company, other)
    assert (found["ownerId"], found.get("needs", "")) == (str(given), "")


async def test_records_go_back_to_people_in_the_teams_of_today(company: Company) -> None:
    """As by assigning: who has changed teams meanwhile takes their records along, if the caller reaches them there."""
    east, west = new_id(), new_id()
    mine = replace(
        company.who, person_id=new_id(), team_id=west, team_ids=frozenset({west}),
        rights={"customers": Rights(Reach.TEAM, Reach.TEAM)},
    )  # fmt: skip
    boss = replace(company.who, team_id=west)
    ids = [await customer(company) for _ in range(2)]

    async def teams() -> list[tuple[str, UUID]]:
        rows = await company.service.running.database.read(
            company.who, "SELECT owner_id, team_id FROM customers WHERE id = ANY($1::uuid[]) ORDER BY id", ids
        )
        return [(str(row["owner_id"]), row["team_id"]) for row in rows]

    try:
        TEAMS[LI] = west
        await run(company, change(owner_id=LI), ids=ids)
        done = await run(company, change(owner_id=str(boss.person_id)), boss, ids=ids[:1])
        theirs = await run(company, change({"needs": "ERP"}, owner_id=str(mine.person_id)), mine, ids=ids[1:])
        assert (done.changed_records, theirs.changed_records) == (1, 1)
        TEAMS[LI] = east
        back = await undone(company, done.id, boss)
        assert (back.undone_records, back.kept_records) == (1, 0)
        kept = await undone(company, theirs.id, mine)
    finally:
        TEAMS.clear()
    assert (kept.undone_records, kept.kept_records) == (0, 1)
    (row,) = await file(company, "GetKeptRecords", theirs.id)
    assert row["Reason"] == "OWNER_OUT_OF_REACH"
    assert await teams() == [(LI, east), (str(mine.person_id), west)]
    assert (await now(company, ids[1]))["needs"] == "ERP"


async def test_parents_come_back_before_their_children(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a batch is one record: the last that went is the first to come back."""
    child = await customer(company)
    parent = await customer(company)
    await update(company, child, {"parentCustomerId": parent})
    for batch in (1, 200):
        monkeypatch.setattr(runs, "BATCH", batch)
        done = await run(company, change(action="delete"), ids=[child, parent])
        assert (done.changed_records, done.refused_records) == (2, 0)
        back = await undone(company, done.id)
        assert (back.undone_records, back.kept_records) == (2, 0)
        assert (await now(company, child))["parentCustomerId"] == parent


async def test_what_somebody_deletes_while_an_undoing_waits_stays_deleted(company: Company) -> None:
    """The undoing waits for the first that it brings back, and another is restored and deleted meanwhile."""
    low, again, high = [await customer(company) for _ in range(3)]
    done = await run(company, change(action="delete"), ids=[low, again, high])
    database = company.service.running.database

    async def waits() -> bool:
        found = await database.read(
            company.who, "SELECT count(*) AS many FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()",
        )  # fmt: skip
        return found[0]["many"] > 0

    async with database.transaction(company.who) as tx:
        for id in (low, high):
            assert await tx.find(TrashItem, UUID(id)) is not None
        asking = pb.UndoBulkEditRequest(id=done.id)
        await company.service.ask(company.who, EDITS + "UndoBulkEdit", asking, pb.BulkEdit)
        await eventually(waits, 30)
        restore = trash_service_pb2.RestoreTrashItemRequest(id=again)
        await company.service.ask(
            company.who, "kehu.customers.v1.TrashService/RestoreTrashItem", restore, trash_pb2.TrashItem
        )
        asked = customer_service_pb2.DeleteCustomerRequest(id=again)
        await company.service.ask(company.who, CUSTOMERS + "DeleteCustomer", asked, Empty)

    async def over() -> bool:
        return (await get(company, done.id)).state == pb.BULK_EDIT_STATE_UNDONE

    await eventually(over, 60)
    (row,) = await file(company, "GetKeptRecords", done.id)
    assert (row["Record"], row["Reason"]) == (again, "CHANGED_SINCE")
    assert [(await now(company, id))["id"] for id in (low, high)] == [low, high]


async def test_versions_that_do_not_know_an_action_leave_it_to_those_that_do(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs are a kind of their own; and an edit that nobody can read for a quarter of an hour ends, and does not stay at
    work for ever."""
    kinds = kinds_of_jobs(monkeypatch)
    id = await customer(company)
    done = await run(company, change(action="delete"), ids=[id])
    await undone(company, done.id)
    own = [kind for kind in kinds if kind.startswith("bulk_edit")]
    assert own == ["bulk_edit delete", "bulk_edit_undo delete"] and set(own) < set(BULK_EDITS.jobs)
    async with company.service.running.database.transaction(company.who) as tx:
        again = text("UPDATE bulk_edits SET state = 'RUNNING', undo_state = '' WHERE id = :id")
        await tx.session.execute(again, {"id": UUID(done.id)})
    older = replace(BULK_EDITS.editor("customer"), actions={})
    call = company.service.running.call(company.who.acting_as("customers"))
    for tries in range(MOST_UNREAD):
        assert (await get(company, done.id)).state == pb.BULK_EDIT_STATE_RUNNING, tries
        with suppress(Unreadable):
            await Running(older, call, UUID(done.id)).carry_on()
    stopped = await get(company, done.id)
    assert (stopped.state, stopped.failure_reason) == (pb.BULK_EDIT_STATE_FAILED, "INTERNAL")
    assert (await now(company, id))["id"] == id


async def test_customers_of_the_pool_go_back_there(company: Company) -> None:
    id = await customer(company)
    request = pool_service_pb2.ReturnCustomerRequest(id=id, reason="nobody knows it")
    await company.service.ask(
        company.who, "kehu.customers.v1.PoolService/ReturnCustomer", request, customer_pb2.Customer
    )
    done = await run(company, change(owner_id=LI), ids=[id])
    assert (await now(company, id))["ownerId"] == LI
    back = await undone(company, done.id)
    assert (back.undone_records, back.kept_records) == (1, 0)
    assert "ownerId" not in await now(company, id)
    assert (await events(company, id))[-1] == "CustomerReturned"


async def test_contacts_are_edited_too(company: Company) -> None:
    home = await customer(company)
    made = [
        await company.service.ask(
            company.who, CONTACTS + "CreateContact",
            contact_service_pb2.CreateContactRequest(
                contact=contact_pb2.Contact(customer_id=home, display_name=f"C{n}", title="Buyer")
            ),
            contact_pb2.Contact,
        )
        for n in range(3)
    ]  # fmt: skip
    done = await run(
        company, change({"title": "Head of buying"}), record_type="contact", filter=f'customerId = "{home}"'
    )
    assert done.changed_records == 3
    for one in made:
        asked = contact_service_pb2.GetContactRequest(id=one.id)
        found = await company.service.ask(company.who, CONTACTS + "GetContact", asked, contact_pb2.Contact)
        assert found.title == "Head of buying"
    back = await undone(company, done.id)
    assert (back.undone_records, back.kept_records) == (3, 0)


async def test_undoing_puts_back_what_nobody_has_changed_since(company: Company) -> None:
    await own_field(company, "tier")
    first: dict[str, Any] = {
        "region": "一区",
        "industry": "IT",
        "customFields": {"tier": "silver"},
        "tags": ["old", "both"],
    }
    first["phones"] = [{"number": "010 1234 5678", "label": "work"}]
    ids = [await customer(company, **first) for _ in range(4)]
    plain, region, tags, deleted = ids
    before = [await now(company, id) for id in ids]
    done = await run(
        company,
        change(
            {"region": "二区", "industry": "Steel", "customFields": {"tier": "gold"}, "phones": [{"number": "021 8765 4321"}]},
            add_tags=["new", "both"], remove_tags=["old"],
        ),
        ids=ids,
    )  # fmt: skip
    assert done.changed_records == 4 and done.HasField("undo_expire_time")
    assert (await now(company, plain))["tags"] == ["both", "new"]
    await update(company, region, {"region": "三区", "needs": "more"})
    await update(company, tags, {"tags": ["both", "new", "later"]})
    await company.service.ask(
        company.who,
        CUSTOMERS + "DeleteCustomer",
        customer_service_pb2.DeleteCustomerRequest(id=deleted),
        Empty,
    )
    back = await undone(company, done.id)
    assert (back.undone_records, back.kept_records) == (2, 2)
    kept = {
        row["Record"]: (row["Reason"], row["Message"])
        for row in await file(company, "GetKeptRecords", done.id)
    }
    assert set(kept) == {region, deleted}
    assert kept[region] == ("CHANGED_SINCE", "somebody has changed region since")
    assert kept[deleted][0] == "NOT_FOUND"

    def told(one: dict[str, Any], *without: str) -> dict[str, Any]:
        moved = ("etag", "updateTime", *without)
        return {name: value for name, value in one.items() if name not in moved}

    is_now = await now(company, plain)
    assert told(is_now, "tags") == told(before[0], "tags") and sorted(is_now["tags"]) == ["both", "old"]
    assert (await history(company, plain))[-1][1] == "bulk edit"
    is_now = await now(company, region)
    assert (is_now["region"], is_now["needs"], is_now["industry"]) == ("三区", "more", "IT")
    assert sorted((await now(company, tags))["tags"]) == ["both", "later", "old"]


@pytest.mark.parametrize("at_once", [following.AT_ONCE, 0])
async def test_an_undoing_refers_to_where_they_went_since(
    company: Company, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the records have not followed yet."""
    await own_field(company, "distributor", "REFERENCE", referenceType="customer")
    old, new, older, newer = [await customer(company) for _ in range(4)]
    ids = [await customer(company, customFields={"distributor": old}), await customer(company)]
    done = await run(company, change({"customFields": {"distributor": new}}), ids=ids)
    assert done.changed_records == 2
    monkeypatch.setattr(following, "AT_ONCE", at_once)
    for survivor, gone in ((older, old), (newer, new)):
        request = merge_service_pb2.MergeCustomersRequest(id=survivor, merged_ids=[gone])
        await company.service.ask(
            company.who, "kehu.customers.v1.MergeService/MergeCustomers", request, merge_pb2.Merge
        )
    here = {"distributor": newer if at_once else new}
    assert [(await now(company, id))["customFields"] for id in ids] == [here] * 2
    back = await undone(company, done.id)
    assert (back.undone_records, back.kept_records) == (2, 0)
    assert [(await now(company, id)).get("customFields", {}) for id in ids] == [{"distributor": older}, {}]


async def test_an_undoing_comes_to_its_end_though_a_field_was_of_another_kind(company: Company) -> None:
    await own_field(company, "distributor", "REFERENCE", referenceType="customer")
    mood = await own_field(company, "mood", "MULTI_CHOICE", choices=[{"key": "a", "labelEn": "A"}])
    other = await customer(company)
    ids = [await customer(company), await customer(company)]
    done = await run(company, change({"customFields": {"distributor": other, "mood": ["a"]}}), ids=ids)
    await run(company, change({"customFields": {"mood": None}}), ids=ids)
    gone = fields.DeleteCustomFieldRequest(id=mood)
    await company.service.ask(company.who, FIELDS + "DeleteCustomField", gone, Empty)
    await own_field(company, "mood", "REFERENCE", referenceType="customer")
    back = await undone(company, done.id)
    # It was cleared since, so that the records stay.
    assert (back.undone_records, back.kept_records) == (0, 2)


async def test_an_undoing_begins_once_and_in_time(company: Company) -> None:
    id = await customer(company, region="一区")
    done = await run(company, change({"region": "二区"}), ids=[id])
    request = pb.UndoBulkEditRequest(id=done.id)
    ask = company.service.ask
    kept = pb.GetKeptRecordsRequest(id=done.id)
    await refused(
        Code.FAILED_PRECONDITION,
        "BULK_EDIT_NOT_UNDONE",
        ask(company.who, EDITS + "GetKeptRecords", kept, HttpBody),
    )
    async with company.service.running.database.transaction(company.who) as tx:
        late = {"id": UUID(done.id), "then": tx.now - timedelta(days=7, seconds=1)}
        await tx.session.execute(text("UPDATE bulk_edits SET ended_at = :then WHERE id = :id"), late)
    await refused(
        Code.FAILED_PRECONDITION,
        "UNDO_EXPIRED",
        ask(company.who, EDITS + "UndoBulkEdit", request, pb.BulkEdit),
    )
    async with company.service.running.database.transaction(company.who) as tx:
        in_time = {"id": UUID(done.id), "then": tx.now - timedelta(days=6)}
        await tx.session.execute(text("UPDATE bulk_edits SET ended_at = :then WHERE id = :id"), in_time)
    await undone(company, done.id)
    assert (await now(company, id))["region"] == "一区"
    await refused(
        Code.FAILED_PRECONDITION,
        "BULK_EDIT_UNDONE",
        ask(company.who, EDITS + "UndoBulkEdit", request, pb.BulkEdit),
    )


@pytest.mark.parametrize(
    ("what", "field", "reason", "expected"),
    [
        (change({"region": 5}), "change.values.region", "INVALID_FIELD", "must be a text"),
        (change({"colour": "red"}), "change.values.colour", "INVALID_FIELD", "is not a field here"),
        (change({"region": "x" * 2000}), "change.values.region", "INVALID_FIELD", "characters"),
        (change({"email": "nobody"}), "change.values.email", "INVALID_FIELD", ""),
        (change({"ownerId": LI}), "change.fields", "FIELD_NOT_WRITABLE", "ownerId"),
        (change({"createTime": "2026-01-01T00:00:00Z"}), "change.fields", "FIELD_NOT_WRITABLE", "createTime"),
        (change({}, fields=["colour"]), "change.fields", "INVALID_FIELD", "is not a field"),
        (change({"externalKey": "K"}), "change.fields", "FIELD_NOT_WRITABLE", "in bulk"),
        (change({}, fields=["displayName"]), "change.values.displayName", "INVALID_FIELD", "required"),
        (change({}), "change", "INVALID_FIELD", "changes nothing"),
        (change({"tags": ["a"]}, add_tags=["b"]), "change.addTags", "INVALID_FIELD", "as a whole"),
        (change(add_tags=["b"], remove_tags=["b"]), "change.removeTags", "INVALID_FIELD", "added as well"),
    ],
)  # fmt: skip
async def test_what_is_none_is_refused_before_it_starts(
    company: Company, what: pb.BulkChange, field: str, reason: str, expected: str
) -> None:
    id = await customer(company)
    for call in (start(company, what, ids=[id]), preview(company, what, ids=[id])):
        problem = await refused(Code.INVALID_ARGUMENT, reason, call)
        assert problem.violations[0].field == field, problem
        assert expected in problem.violations[0].description


async def test_who_is_meant_must_be_said(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    id, what = await customer(company), change({"region": "x"})
    unsaid: list[dict[str, Any]] = [{}, {"ids": [id], "filter": "level = A"}, {"filter": "  "}]
    for chosen in unsaid:
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", start(company, what, **chosen))
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", start(company, what, filter="lvl = A"))
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", preview(company, what, filter="lvl = A"))
    await refused(
        Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", start(company, what, record_type="lead", ids=[id])
    )
    await customer(company)
    for module in (bulk_edit, __import__("chassis.bulk_edits.preview", fromlist=["preview"])):
        monkeypatch.setattr(module, "MOST_RECORDS", 1)
    for call in (start, preview):
        many = call(company, what, filter="createTime > 2001-01-01")
        await refused(Code.FAILED_PRECONDITION, "TOO_MANY_RECORDS", many)
    found = await company.service.running.database.read(
        company.who, "SELECT count(*) AS many FROM bulk_edits"
    )
    assert found[0]["many"] == 0


async def test_a_repeat_starts_once(company: Company) -> None:
    id, key = await customer(company), uuid4().hex
    one, two = [await start(company, change({"region": "x"}), ids=[id], request_id=key) for _ in range(2)]
    assert one.id == two.id
    await refused(
        Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED",
        start(company, change({"region": "y"}), ids=[id], request_id=key),
    )  # fmt: skip
    await ended(company, one.id)
    assert len(await history(company, id)) == 2


async def test_edits_are_seen_by_their_makers_and_by_those_who_may_write_all(company: Company) -> None:
    li = replace(company.who, person_id=new_id(), rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    id = await customer(company, li)
    theirs = await start(company, change({"region": "x"}), li, ids=[id])
    await ended(company, theirs.id)
    other = replace(li, person_id=new_id())
    stranger = somebody("elsewhere")
    for who in (other, stranger):
        await refused(Code.NOT_FOUND, "NOT_FOUND", get(company, theirs.id, who))
        for name in ("CancelBulkEdit", "UndoBulkEdit"):
            request: Any = getattr(pb, f"{name}Request")(id=theirs.id)
            await refused(
                Code.NOT_FOUND, "NOT_FOUND", company.service.ask(who, EDITS + name, request, pb.BulkEdit)
            )
        listed = await company.service.ask(
            who, EDITS + "ListBulkEdits", pb.ListBulkEditsRequest(), pb.ListBulkEditsResponse
        )
        assert list(listed.bulk_edits) == []
    reader = replace(li, rights={"customers": Rights(Reach.ALL, Reach.NONE)})
    await refused(
        Code.PERMISSION_DENIED, "RIGHT_MISSING", start(company, change({"region": "y"}), reader, ids=[id])
    )
    foreign = await run(company, change({"region": "y"}), ids=[await customer(Company(company.service))])
    assert (foreign.changed_records, foreign.refused_records) == (0, 1)


async def test_two_workers_change_nothing_twice(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BATCH", 3)
    ids = [await customer(company) for _ in range(20)]
    monkeypatch.setattr(bulk_edit, "JOB", "nobody does this")
    monkeypatch.setattr(bulk_edit, "UNDO_JOB", "nobody does this")
    edit = await start(company, change({"region": "x"}, add_tags=["t"]), ids=ids)
    call = company.service.running.call(company.who.acting_as("customers"))
    editor = BULK_EDITS.editor("customer")

    async def two(work: type[Running]) -> None:
        """Two take it up at one place: who is overtaken comes again, for the one who goes on may die."""
        with monkeypatch.context() as patch:
            patch.setattr(Running, "_batch", together(2, vars(Running)["_batch"]))
            outcomes = await asyncio.gather(
                *(work(editor, call, UUID(edit.id)).carry_on() for _ in range(2)), return_exceptions=True
            )
        assert [one.reason for one in outcomes if isinstance(one, Problem)] == ["RECORD_BUSY"], outcomes
        assert None in outcomes, outcomes

    await two(Running)
    done = await ended(company, edit.id)
    assert (done.changed_records, done.processed_records) == (20, 20)
    assert [len(await history(company, id)) for id in ids] == [2] * 20
    undoing = pb.UndoBulkEditRequest(id=edit.id)
    await company.service.ask(company.who, EDITS + "UndoBulkEdit", undoing, pb.BulkEdit)
    await two(Undoing)
    back = await get(company, edit.id)
    assert (back.state, back.undone_records) == (pb.BULK_EDIT_STATE_UNDONE, 20)
    assert [len(await history(company, id)) for id in ids] == [3] * 20


async def test_a_fault_ends_an_undoing_after_some_tries_and_it_is_asked_for_again(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> list[str]:
        raise LookupError("a bug")

    id = await customer(company, region="一区")
    edit = await run(company, change({"region": "二区"}), ids=[id])
    editor, call = (
        BULK_EDITS.editor("customer"),
        company.service.running.call(company.who.acting_as("customers")),
    )
    asking = pb.UndoBulkEditRequest(id=edit.id)
    with monkeypatch.context() as patched:
        patched.setattr(runs, "put_back", broken)
        await company.service.ask(company.who, EDITS + "UndoBulkEdit", asking, pb.BulkEdit)
        for _ in range(5):  # beside the service's own job
            with suppress(LookupError):
                await Undoing(editor, call, UUID(edit.id)).carry_on()
        stopped = await get(company, edit.id)
        assert (stopped.state, stopped.failure_reason) == (pb.BULK_EDIT_STATE_SUCCEEDED, "INTERNAL")
    await company.service.ask(company.who, EDITS + "UndoBulkEdit", asking, pb.BulkEdit)
    await Undoing(editor, call, UUID(edit.id)).carry_on()
    again = await get(company, edit.id)
    assert (again.state, again.undone_records, again.failure_reason) == (pb.BULK_EDIT_STATE_UNDONE, 1, "")


async def test_a_cancelled_edit_keeps_what_it_did_and_can_be_undone(company: Company) -> None:
    """The edit is stopped between two batches: those behind stay as they were."""
    ids = [await customer(company, region="一区") for _ in range(5)]
    edit = await start(company, change({"region": "二区"}), ids=ids)
    try:
        await company.service.ask(
            company.who, EDITS + "CancelBulkEdit", pb.CancelBulkEditRequest(id=edit.id), pb.BulkEdit
        )
        state = pb.BULK_EDIT_STATE_CANCELLED
    except Exception as problem:  # it was faster
        assert getattr(problem, "reason", "") == "BULK_EDIT_ENDED"
        state = pb.BULK_EDIT_STATE_SUCCEEDED
    done = await ended(company, edit.id)
    assert done.state == state
    regions = [(await now(company, id))["region"] for id in ids]
    assert regions.count("二区") == done.changed_records
    await refused(
        Code.FAILED_PRECONDITION, "BULK_EDIT_ENDED",
        company.service.ask(
            company.who, EDITS + "CancelBulkEdit", pb.CancelBulkEditRequest(id=edit.id), pb.BulkEdit
        ),
    )  # fmt: skip
    await undone(company, edit.id)
    assert [(await now(company, id))["region"] for id in ids] == ["一区"] * 5


async def test_so_many_edits_are_at_work_at_once(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_edit, "AT_ONCE", 0)
    id = await customer(company)
    await refused(
        Code.RESOURCE_EXHAUSTED, "TOO_MANY_BULK_EDITS", start(company, change({"region": "x"}), ids=[id])
    )
