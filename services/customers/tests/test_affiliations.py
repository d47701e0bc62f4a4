"""Contacts of several customers, and who reports to whom at each of them."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_facet_pb2,
    customer_service_pb2,
    events_pb2,
)
from kehu.history.v1 import history_pb2

from chassis.errors import Code, Problem
from chassis.owners import Owner
from chassis.principal import Principal, Reach, Rights
from chassis.testing import Harness, eventually, refused, somebody
from chassis.wire import from_json
from customers.contact import Contact, change_contact
from customers.customer import Customer
from customers.ownership import assign_customers
from customers.testing import Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
CUSTOMERS = "kehu.customers.v1.CustomerService/"
CONTACTS = "kehu.customers.v1.ContactService/"


class People(Company):
    """A company with contacts."""

    async def contact(self, customer: str, name: str, **values: Any) -> str:
        request = contact_service_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(display_name=name, customer_id=customer, **values)
        )
        return (await self.service.ask(self.who, CONTACTS + "CreateContact", request, contact_pb2.Contact)).id

    async def get(self, id: str, who: Principal | None = None) -> contact_pb2.Contact:
        request = contact_service_pb2.GetContactRequest(id=id)
        return await self.service.ask(who or self.who, CONTACTS + "GetContact", request, contact_pb2.Contact)

    async def join(
        self, contact: str, customer: str, who: Principal | None = None, **what: Any
    ) -> contact_pb2.Contact:
        request = contact_service_pb2.JoinCustomerRequest(
            id=contact, affiliation=contact_pb2.Affiliation(customer_id=customer, **what)
        )
        return await self.service.ask(
            who or self.who, CONTACTS + "JoinCustomer", request, contact_pb2.Contact
        )

    async def leave(
        self, contact: str, customer: str, who: Principal | None = None, to: str = ""
    ) -> contact_pb2.Contact:
        request = contact_service_pb2.LeaveCustomerRequest(
            id=contact, customer_id=customer, reports_go_to_id=to
        )
        return await self.service.ask(
            who or self.who, CONTACTS + "LeaveCustomer", request, contact_pb2.Contact
        )

    async def reports_to(self, contact: str, superior: str) -> contact_pb2.Contact:
        request = contact_service_pb2.UpdateContactRequest(
            contact=contact_pb2.Contact(id=contact, reports_to_id=superior),
            update_mask=FieldMask(paths=["reports_to_id"]),
        )
        return await self.service.ask(self.who, CONTACTS + "UpdateContact", request, contact_pb2.Contact)

    async def delete(self, contact: str, to: str = "") -> None:
        request = contact_service_pb2.DeleteContactRequest(id=contact, reports_go_to_id=to)
        await self.service.ask(self.who, CONTACTS + "DeleteContact", request, Empty)

    async def chart(self, customer: str, who: Principal | None = None, most: int = 0) -> contact_pb2.OrgChart:
        request = contact_service_pb2.GetOrgChartRequest(customer_id=customer, max_members=most)
        return await self.service.ask(
            who or self.who, CONTACTS + "GetOrgChart", request, contact_pb2.OrgChart
        )

    async def tree(self, customer: str) -> dict[str, str]:
        """Who reports to whom, by names."""
        chart = await self.chart(customer)
        names = {one.contact_id: one.display_name for one in chart.members}
        return {one.display_name: names.get(one.reports_to_id, "") for one in chart.members}

    async def listed(self, who: Principal | None = None, **asked: Any) -> list[str]:
        page = await self.service.ask(
            who or self.who, CONTACTS + "ListContacts", contact_service_pb2.ListContactsRequest(**asked),
            contact_service_pb2.ListContactsResponse,
        )  # fmt: skip
        return sorted(one.display_name for one in page.contacts)


@pytest.fixture
def people(service: Harness) -> People:
    return People(service)


async def test_a_contact_belongs_to_several_customers(people: People) -> None:
    steel, bank = await people.customer("宝钢"), await people.customer("工行")
    zhang = await people.contact(steel, "张伟", title="采购总监", primary=True)
    joined = await people.join(
        zhang, bank, title="董事", department="董事会", decision_role=contact_pb2.DECISION_ROLE_DECIDER
    )
    assert joined.customer_id == steel and joined.etag == "2"
    assert [(a.customer_name, a.title, a.department, a.decision_role, a.primary) for a in joined.affiliations] == [
        ("宝钢", "采购总监", "", contact_pb2.DECISION_ROLE_UNSPECIFIED, True),
        ("工行", "董事", "董事会", contact_pb2.DECISION_ROLE_DECIDER, False),
    ]  # fmt: skip
    assert await people.get(zhang) == joined
    assert await people.listed(member_of_customer_id=bank) == ["张伟"]
    assert await people.listed(filter=f'customerId = "{bank}"') == []
    facet = await people.service.ask(
        people.who, "kehu.customers.v1.CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=bank), customer_facet_pb2.CustomerFacet,
    )  # fmt: skip
    assert [(c.display_name, c.title, c.customer_id) for c in facet.contacts] == [("张伟", "董事", bank)]
    changed = await people.join(zhang, bank, title="监事")
    assert [a.title for a in changed.affiliations] == ["采购总监", "监事"]
    # The primary customer's own fields are changed alike.
    assert (await people.join(zhang, steel, title="副总")).title == "副总"


async def test_another_customer_becomes_the_primary_one(people: People) -> None:
    steel, bank = await people.customer("宝钢"), await people.customer("工行")
    zhang = await people.contact(steel, "张伟", title="总监", primary=True)
    below = await people.contact(steel, "李娜", reports_to_id=zhang)
    moved = await people.join(zhang, bank, title="行长", primary=True)
    assert (moved.customer_id, moved.title, moved.primary) == (bank, "行长", False)
    assert [(a.customer_name, a.title, a.primary) for a in moved.affiliations] == [
        ("工行", "行长", True), ("宝钢", "总监", False),
    ]  # fmt: skip
    # Whoever reported to the contact there goes on to, for it still belongs there.
    assert await people.tree(steel) == {"张伟": "", "李娜": "张伟"}
    left = await people.leave(zhang, steel)
    assert [a.customer_name for a in left.affiliations] == ["工行"]
    assert await people.tree(steel) == {"李娜": ""} and (await people.get(below)).reports_to_id == ""


async def test_leaving_hands_those_below_to_somebody(people: People) -> None:
    steel, bank = await people.customer("宝钢"), await people.customer("工行")
    chief = await people.contact(bank, "行长")
    zhang = await people.contact(steel, "张伟")
    await people.join(zhang, bank, reports_to_id=chief)
    wang = await people.contact(bank, "王芳", reports_to_id=zhang)
    await people.contact(bank, "李娜", reports_to_id=zhang)
    await people.leave(zhang, bank, to=wang)
    assert await people.tree(bank) == {"行长": "", "王芳": "行长", "李娜": "王芳"}
    await refused(Code.FAILED_PRECONDITION, "AFFILIATION_PRIMARY", people.leave(zhang, steel))
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", people.leave(zhang, bank))


async def test_deleting_somebody_others_report_to(people: People) -> None:
    steel = await people.customer("宝钢")
    top = await people.contact(steel, "总")
    middle = await people.contact(steel, "中", reports_to_id=top)
    low = await people.contact(steel, "下", reports_to_id=middle)
    await people.contact(steel, "旁", reports_to_id=middle)
    outsider = await people.contact(await people.customer("外"), "外人")
    await refused(Code.INVALID_ARGUMENT, "SUPERIOR_NOT_FOUND", people.delete(middle, outsider))
    await refused(Code.INVALID_ARGUMENT, "SUPERIOR_NOT_FOUND", people.delete(middle, middle))
    # One who stood below moves up; nobody is left in a circle.
    await people.delete(middle, low)
    assert await people.tree(steel) == {"总": "", "下": "总", "旁": "下"}
    await people.delete(low)
    assert await people.tree(steel) == {"总": "", "旁": ""}


async def test_no_circle_at_any_customer(people: People) -> None:
    steel, bank = await people.customer("宝钢"), await people.customer("工行")
    zhang, li = await people.contact(steel, "张"), await people.contact(steel, "李")
    await people.join(zhang, bank)
    await people.join(li, bank, reports_to_id=zhang)
    # At another customer it is another tree.
    await people.reports_to(zhang, li)
    await refused(Code.FAILED_PRECONDITION, "CONTACT_CIRCLE", people.join(zhang, bank, reports_to_id=li))
    await refused(Code.FAILED_PRECONDITION, "CONTACT_CIRCLE", people.reports_to(li, zhang))
    await refused(Code.INVALID_ARGUMENT, "SUPERIOR_NOT_FOUND", people.join(zhang, bank, reports_to_id=zhang))
    wang = await people.contact(steel, "王")
    await refused(Code.INVALID_ARGUMENT, "SUPERIOR_NOT_FOUND", people.join(zhang, bank, reports_to_id=wang))


async def test_two_who_close_a_circle_together_do_not(people: People) -> None:
    bank = await people.customer("工行")
    for _ in range(5):
        one, two = await people.contact(bank, "一"), await people.contact(bank, "二")
        done = await asyncio.gather(
            people.reports_to(one, two), people.join(two, bank, reports_to_id=one), return_exceptions=True
        )
        assert all(isinstance(d, Problem) or not isinstance(d, BaseException) for d in done)
        chart = await people.chart(bank)
        # Whoever is in a circle is below nobody who reports to nobody, and so in no chart.
        assert chart.member_count == len({m.contact_id for m in chart.members})
        known = {m.contact_id: m.reports_to_id for m in chart.members}
        assert one in known and two in known and not (known[one] and known[two])


async def test_two_who_become_the_primary_contact_together_do_not_both(people: People) -> None:
    customer = await people.customer("甲")
    ids = [await people.contact(customer, name) for name in ("一", "二")]
    database = people.service.running.database
    request = contact_service_pb2.UpdateContactRequest(
        contact=contact_pb2.Contact(id=ids[1], primary=True), update_mask=FieldMask(paths=["primary"])
    )
    async with database.transaction(people.who) as tx:
        first = await tx.find(Contact, UUID(ids[0]))
        assert first is not None
        await change_contact(tx, first, {"primary": True})
        await tx.session.flush()
        other = asyncio.create_task(
            people.service.ask(people.who, CONTACTS + "UpdateContact", request, contact_pb2.Contact)
        )

        async def waits_or_is_done() -> bool:
            # A transaction is waited for: the row that it has locked.
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
            return other.done() or bool(await database.read(people.who, waiting))

        await eventually(waits_or_is_done)
    await other
    assert [(await people.get(id)).primary for id in ids] == [False, True]
    # A new one makes way, too.
    await people.contact(customer, "三", primary=True)
    assert [(await people.get(id)).primary for id in ids] == [False, False]


async def test_the_chart_tells_what_is_cut_off(people: People) -> None:
    bank = await people.customer("工行")
    top = await people.contact(bank, "行长", primary=True, decision_role=contact_pb2.DECISION_ROLE_DECIDER)
    for place in range(4):
        middle = await people.contact(bank, f"部长{place}", reports_to_id=top)
        for number in range(2):
            await people.contact(bank, f"员工{place}{number}", reports_to_id=middle)
    whole = await people.chart(bank)
    assert (whole.member_count, whole.cut_off_count, len(whole.members)) == (13, 0, 13)
    assert [m.depth for m in whole.members] == [0] + [1] * 4 + [2] * 8
    assert whole.members[0].report_count == 4 and whole.members[0].primary_contact
    assert whole.members[0].decision_role == contact_pb2.DECISION_ROLE_DECIDER
    assert {m.decision_role for m in whole.members[1:]} == {contact_pb2.DECISION_ROLE_UNSPECIFIED}
    part = await people.chart(bank, most=3)
    assert [m.display_name for m in part.members] == ["行长", "部长0", "部长1"]
    assert (part.member_count, part.cut_off_count) == (13, 10)
    assert [(m.report_count, m.cut_off_report_count) for m in part.members] == [(4, 2), (2, 2), (2, 2)]
    empty = await people.chart(await people.customer("空"))
    assert (empty.member_count, len(empty.members)) == (0, 0)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", people.chart(bank, most=1001))


async def seller(people: People, reach: Reach = Reach.OWN) -> tuple[Principal, str]:
    """A person who sees their own customers, and one of these."""
    who = somebody(people.who.tenant, rights={"customers": Rights(reach, reach)})
    return who, await People(people.service, who).customer("自己的")


async def test_who_sees_one_customer_sees_its_contacts_and_nothing_of_the_others(people: People) -> None:
    secret = await people.customer("机密客户")
    zhang = await people.contact(secret, "张伟", title="机密职务")
    who, mine = await seller(people)
    await refused(Code.NOT_FOUND, "NOT_FOUND", people.get(zhang, who))
    await refused(Code.NOT_FOUND, "NOT_FOUND", people.join(zhang, mine, who))
    await people.join(zhang, mine, title="顾问")
    seen = await people.get(zhang, who)
    assert (seen.customer_id, seen.title, seen.owner_id) == (mine, "顾问", str(who.person_id))
    assert [a.customer_name for a in seen.affiliations] == ["自己的"]
    assert "机密" not in str(seen) and secret not in str(seen)
    assert await people.listed(who) == ["张伟"]
    assert await people.listed(who, member_of_customer_id=mine) == ["张伟"]
    assert await people.listed(who, member_of_customer_id=secret) == []
    await refused(Code.NOT_FOUND, "NOT_FOUND", people.chart(secret, who))
    assert [m.title for m in (await people.chart(mine, who)).members] == ["顾问"]
    # It can be changed where it is one's own, and not elsewhere.
    assert (await people.join(zhang, mine, who, title="高级顾问")).title == "高级顾问"
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", people.join(zhang, secret, who))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", people.join(zhang, mine, who, primary=True))
    update = contact_service_pb2.UpdateContactRequest(
        contact=contact_pb2.Contact(id=zhang, notes="x"), update_mask=FieldMask(paths=["notes"])
    )
    asked = people.service.ask(who, CONTACTS + "UpdateContact", update, contact_pb2.Contact)
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", asked)
    delete = contact_service_pb2.DeleteContactRequest(id=zhang)
    await refused(
        Code.PERMISSION_DENIED,
        "RECORD_READ_ONLY",
        people.service.ask(who, CONTACTS + "DeleteContact", delete, Empty),
    )
    await people.leave(zhang, mine, who)
    await refused(Code.NOT_FOUND, "NOT_FOUND", people.get(zhang, who))


async def test_another_company_learns_and_changes_nothing(people: People) -> None:
    bank = await people.customer("工行")
    zhang = await people.contact(bank, "张伟")
    rival = People(people.service)
    theirs = await rival.customer("对手")
    await refused(Code.NOT_FOUND, "NOT_FOUND", rival.join(zhang, theirs))
    await refused(Code.NOT_FOUND, "NOT_FOUND", rival.leave(zhang, bank))
    await refused(Code.NOT_FOUND, "NOT_FOUND", rival.chart(bank))
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", people.join(zhang, theirs))


async def test_a_new_owner_sees_the_contacts(people: People) -> None:
    bank, steel = await people.customer("工行"), await people.customer("宝钢")
    zhang = await people.contact(steel, "张伟")
    await people.join(zhang, bank)
    who, _ = await seller(people)
    async with people.service.running.database.transaction(people.who) as tx:
        customer = await tx.get(Customer, UUID(bank), right="customers")
        await assign_customers(tx, [customer], Owner(who.person_id, None))
    assert (await people.get(zhang, who)).customer_id == bank


async def test_a_customer_that_goes_takes_only_those_who_belong_nowhere_else(people: People) -> None:
    bank, steel = await people.customer("工行"), await people.customer("宝钢")
    stays, goes, guest = (
        await people.contact(bank, "留"), await people.contact(bank, "去"), await people.contact(steel, "客"),
    )  # fmt: skip
    await people.join(stays, steel, title="顾问")
    await people.join(guest, bank)
    await people.service.ask(
        people.who, CUSTOMERS + "DeleteCustomer", customer_service_pb2.DeleteCustomerRequest(id=bank), Empty
    )
    read = await people.get(stays)
    assert (read.customer_id, read.title) == (steel, "顾问") and len(read.affiliations) == 1
    assert [a.customer_name for a in (await people.get(guest)).affiliations] == ["宝钢"]
    await refused(Code.NOT_FOUND, "NOT_FOUND", people.get(goes))


async def test_a_contact_belongs_to_twenty_at_most(people: People) -> None:
    zhang = await people.contact(await people.customer("0"), "张伟")
    for number in range(19):
        await people.join(zhang, await people.customer(str(number)))
    await refused(
        Code.FAILED_PRECONDITION, "TOO_MANY_AFFILIATIONS", people.join(zhang, await people.customer("20"))
    )


async def test_history_and_events_tell_of_it(people: People) -> None:
    bank, steel = await people.customer("工行"), await people.customer("宝钢")
    zhang = await people.contact(steel, "张伟")
    await people.join(zhang, bank, title="董事", decision_role=contact_pb2.DECISION_ROLE_DECIDER)
    await people.join(zhang, bank, title="董事", decision_role=contact_pb2.DECISION_ROLE_DECIDER)
    changes = await people.service.ask(
        people.who, "kehu.customers.v1.HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="contact", record_id=zhang), history_pb2.ListChangesResponse,
    )  # fmt: skip
    assert [(f.field, f.old_value, f.new_value) for f in changes.changes[0].fields] == [
        (f"affiliations.{bank}", "", "董事, DECIDER")
    ]
    assert len(changes.changes) == 2  # a repeat changes nothing
    who, mine = await seller(people)
    asked = history_pb2.ListChangesRequest(record_type="contact", record_id=zhang)

    def read() -> Any:
        return people.service.ask(
            who, "kehu.customers.v1.HistoryService/ListChanges", asked, history_pb2.ListChangesResponse
        )

    await refused(Code.NOT_FOUND, "NOT_FOUND", read())
    rows = await people.service.running.database.read(
        people.who, "SELECT data FROM outbox WHERE type = 'kehu.customers.v1.ContactUpdated' ORDER BY seq"
    )
    await people.join(zhang, mine)
    assert len((await read()).changes) == 3, "who sees a contact by any of its customers reads its history"
    assert len(rows) == 1
    assert b'"affiliations":[{"customerId":"' + bank.encode() + b'","title":"' in rows[0]["data"]


async def test_events_tell_all_of_which_a_chart_is_made(people: People) -> None:
    bank, steel = await people.customer("工行"), await people.customer("宝钢")
    chief, head = await people.contact(bank, "行长"), await people.contact(steel, "总经理")
    aide = await people.contact(steel, "助理", department="信贷", reports_to_id=head)
    await people.join(aide, bank, department="董事会", reports_to_id=chief)
    rows = await people.service.running.database.read(
        people.who, "SELECT data FROM outbox WHERE record_id = $1::uuid ORDER BY seq", aide
    )
    told = from_json(events_pb2.ContactUpdated, bytes(rows[-1]["data"])).contact
    assert (told.department, told.reports_to_id) == ("信贷", head)
    assert [(one.department, one.reports_to_id) for one in told.affiliations] == [("董事会", chief)]
    # Whom nobody stands above any more is told of, too.
    await people.delete(chief)
    rows = await people.service.running.database.read(
        people.who, "SELECT data FROM outbox WHERE record_id = $1::uuid ORDER BY seq", aide
    )
    told = from_json(events_pb2.ContactUpdated, bytes(rows[-1]["data"])).contact
    assert (told.reports_to_id, [one.reports_to_id for one in told.affiliations]) == (head, [""])
