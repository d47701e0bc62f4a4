"""What people are told, once for each cause, and what they do with it; nobody sees another's."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from kehu.customers.v1 import events_pb2 as customers
from kehu.identity.v1 import events_pb2 as identity
from kehu.leads.v1 import events_pb2 as leads
from kehu.leads.v1 import lead_pb2
from kehu.marketing.v1 import events_pb2 as marketing
from kehu.notifications.v1 import notification_pb2 as pb
from kehu.notifications.v1 import notification_service_pb2 as service_pb
from kehu.sales.v1 import events_pb2 as sales
from kehu.servicedesk.v1 import events_pb2 as servicedesk

from chassis.errors import Code
from chassis.principal import NOBODY, Principal
from chassis.testing import refused, somebody
from notifications.testing import Office, stamp

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW = datetime.now(UTC)


async def test_who_is_given_a_record_is_told(office: Office) -> None:
    ann = str(office.ann.person_id)
    lead = await office.hear(leads.LeadAssigned(owner_id=ann, lead=leads.LeadSnapshot(company_name="用友")))
    assert lead
    told: list[Any] = [
        leads.LeadCreated(owner_id=ann, lead=leads.LeadSnapshot(name="张三")),
        customers.CustomerCreated(owner_id=ann, customer=customers.CustomerSnapshot(display_name="联想")),
        customers.CustomerAssigned(owner_id=ann, customer=customers.CustomerSnapshot(display_name="华为")),
        sales.OpportunityCreated(owner_id=ann, opportunity=sales.OpportunitySnapshot(name="A pump")),
        sales.OpportunityAssigned(owner_id=ann, opportunity=sales.OpportunitySnapshot(name="Two pumps")),
        servicedesk.TicketOpened(owner_id=ann, ticket=servicedesk.TicketSnapshot(subject="It leaks")),
        servicedesk.TicketAssigned(owner_id=ann, ticket=servicedesk.TicketSnapshot(subject="It is loud")),
    ]
    for event in told:
        await office.hear(event)
    found = await office.inbox(office.ann, order_by="createTime")
    assert [one.title for one in found] == [
        "王经理将线索“用友”分配给了你", "王经理将线索“张三”分配给了你", "王经理将客户“联想”分配给了你",
        "王经理将客户“华为”分配给了你", "王经理将商机“A pump”分配给了你", "王经理将商机“Two pumps”分配给了你",
        "王经理将工单“It leaks”分配给了你", "王经理将工单“It is loud”分配给了你",
    ]  # fmt: skip
    assert {one.kind for one in found} == {pb.NOTIFICATION_KIND_ASSIGNED}
    assert [one.record_type for one in found][::2] == ["lead", "customer", "opportunity", "ticket"]
    assert found[0].actor_id == str(office.boss.person_id) and found[0].unread
    assert await office.unread(office.ann) == 8


async def test_nobody_is_told_what_they_did_themselves_or_what_concerns_nobody(office: Office) -> None:
    await office.given(by=office.ann)
    await office.hear(leads.LeadAssigned(owner_id="", lead=leads.LeadSnapshot(name="In the pool")))
    same = leads.LeadAssigned(
        owner_id=str(office.ann.person_id), previous_owner_id=str(office.ann.person_id), lead=leads.LeadSnapshot(name="x")
    )  # fmt: skip
    await office.hear(same)
    await office.given(at=NOW - timedelta(days=8))
    assert await office.inbox(office.ann) == [] == await office.inbox(office.boss)


async def test_what_nobody_did_is_told_without_a_name(office: Office) -> None:
    rule = Principal(tenant_id=office.boss.tenant_id, tenant=office.boss.tenant, person_id=NOBODY)
    await office.given(by=rule)
    (one,) = await office.inbox(office.ann)
    assert (one.title, one.actor_id, one.actor_name) == ("线索“张三”已分配给你", "", "")


async def test_a_record_that_is_called_otherwise_is_told_so(office: Office) -> None:
    id = uuid4()
    await office.given(name="Old name", id=id)
    await office.given(name="Another")
    renamed = leads.LeadUpdated(
        owner_id=str(office.ann.person_id), lead=leads.LeadSnapshot(company_name="新名"), changed_fields=["name"]
    )  # fmt: skip
    await office.hear(renamed, id, 2)
    other = leads.LeadUpdated(lead=leads.LeadSnapshot(company_name="Nothing"), changed_fields=["tags"])
    await office.hear(other, id, 3)
    titles = [one.title for one in await office.inbox(office.ann, order_by="createTime")]
    assert titles == ["王经理将线索“新名”分配给了你", "王经理将线索“Another”分配给了你"]


async def test_whoever_may_see_a_record_no_longer_does_not_learn_its_new_name(office: Office) -> None:
    ann, boss, id = str(office.ann.person_id), str(office.boss.person_id), uuid4()
    before = customers.CustomerSnapshot(display_name="联想")

    async def renamed(name: str, owner: str, version: int) -> list[str]:
        now = customers.CustomerSnapshot(display_name=name)
        event = customers.CustomerUpdated(owner_id=owner, customer=now, changed_fields=["displayName"])
        await office.hear(event, id, version)
        return [one.title for one in await office.inbox(office.ann, order_by="createTime")]

    await office.hear(customers.CustomerAssigned(owner_id=ann, customer=before), id)
    given = customers.CustomerAssigned(owner_id=boss, previous_owner_id=ann, customer=before)
    await office.hear(given, id, 2)
    assert await renamed("华为", boss, 3) == ["王经理将客户“联想”分配给了你"]
    shared = customers.CustomerSnapshot(display_name="华为")
    await office.hear(customers.CustomerShared(with_person_id=ann, customer=shared), id, 4)
    assert (await renamed("小米", boss, 5))[1] == "王经理与你共享了客户“小米”"
    await office.hear(customers.CustomerUnshared(with_person_id=ann, customer=shared), id, 6)
    assert await renamed("字节", boss, 7) == ["王经理将客户“联想”分配给了你", "王经理与你共享了客户“小米”"]
    await office.hear(customers.CustomerShared(with_person_id=ann, customer=shared), id, 8)
    assert await renamed("格力", boss, 9) == [
        "王经理将客户“联想”分配给了你", "王经理与你共享了客户“小米”", "王经理与你共享了客户“格力”",
    ]  # fmt: skip


async def test_what_was_deleted_is_listed_no_longer_until_it_comes_back(office: Office) -> None:
    ann, id = str(office.ann.person_id), uuid4()
    one = customers.CustomerSnapshot(display_name="联想")
    await office.hear(customers.CustomerAssigned(owner_id=ann, customer=one), id)
    await office.given()
    assert await office.unread(office.ann) == 2
    for _ in range(2):
        await office.hear(customers.CustomerDeleted(owner_id=ann, customer=one), id, 2)
    assert ([n.record_type for n in await office.inbox(office.ann)], await office.unread(office.ann)) == (
        ["lead"],
        1,
    )
    await office.hear(customers.CustomerRestored(owner_id=ann, customer=one), id, 3)
    assert (len(await office.inbox(office.ann)), await office.unread(office.ann)) == (2, 2)
    counts = [
        data.get("unreadCount", 0)
        for subject, _, data in await office.events()
        if subject.endswith("inbox.changed")
    ]
    assert counts == [1, 2]
    for event in (
        leads.LeadDeleted(),
        servicedesk.TicketDeleted(),
        sales.OpportunityDeleted(),
        sales.OrderDeleted(),
    ):
        await office.hear(event)
    # Once it has left the trash for good, nothing says what it was called.
    for _ in range(2):
        await office.hear(customers.CustomerPurged(customer_id=str(id)), id, 4)
    assert all("联想" not in n.title for n in await office.inbox(office.ann))
    kept = "SELECT count(*) AS many FROM notifications t WHERE t::text LIKE '%联想%'"
    assert (await office.service.running.database.read(office.ann, kept))[0]["many"] == 0


async def test_one_cause_tells_once_however_often_it_comes(office: Office) -> None:
    event_id = await office.given()
    database = office.service.running.database
    for _ in range(3):
        await office.given(event_id=event_id)
    # Who has forgotten that the event had its effect, as after a rebuild, still knows whom it told.
    async with database.transaction(office.boss) as tx:
        from sqlalchemy import text

        await tx.session.execute(text("DELETE FROM inbox"))
    await office.given(event_id=event_id)
    assert len(await office.inbox(office.ann)) == 1
    await office.given(owner=office.boss, by=office.ann, event_id=event_id)
    assert len(await office.inbox(office.boss)) == 0  # the bus has had this event
    created = [one for one in await office.events() if one[0] == "notifications.notification.created"]
    assert len(created) == 1


async def test_many_at_once_are_told_as_a_number(office: Office) -> None:
    for number in range(25):
        await office.given(name=f"Lead {number}")
    found = await office.inbox(office.ann, order_by="createTime")
    assert len(found) == 11
    assert (found[-1].title, found[-1].record_count, found[-1].record_id) == (
        "王经理还将另外 15 条线索分配给了你", 15, "",
    )  # fmt: skip
    assert await office.unread(office.ann) == 11
    # Open screens hear of each, though the count of what is unread stays.
    told = [data for _, _, data in await office.events() if data["ownerId"] == str(office.ann.person_id)]
    assert len(told) == 25 and [one["unreadCount"] for one in told[11:]] == [11] * 14
    await office.hear(
        customers.CustomerAssigned(
            owner_id=str(office.ann.person_id), customer=customers.CustomerSnapshot(display_name="联想")
        )
    )
    assert (await office.inbox(office.ann))[0].title == "王经理将客户“联想”分配给了你"


async def test_the_way_to_the_pool_and_the_next_contact(office: Office) -> None:
    ann, snapshot = str(office.ann.person_id), leads.LeadSnapshot(name="张三", next_contact_time=stamp(NOW))
    soon = stamp(NOW + timedelta(days=1))
    await office.hear(leads.LeadContactDue(owner_id=ann, lead=snapshot))
    await office.hear(leads.LeadReclaimWarned(owner_id=ann, lead=snapshot, reclaim_time=soon))
    await office.hear(leads.LeadReclaimed(previous_owner_id=ann, lead=snapshot))
    found = await office.inbox(office.ann, order_by="createTime")
    assert [(one.title, one.kind) for one in found] == [
        ("该联系线索“张三”了", pb.NOTIFICATION_KIND_DUE),
        ("线索“张三”即将退回公海", pb.NOTIFICATION_KIND_POOL),
        ("线索“张三”已退回公海", pb.NOTIFICATION_KIND_POOL),
    ]
    assert found[1].due_time == soon


async def test_whose_lead_gets_in_touch_again_is_told_once(office: Office) -> None:
    ann = str(office.ann.person_id)
    rule = Principal(tenant_id=office.boss.tenant_id, tenant=office.boss.tenant, person_id=NOBODY)

    def again(status: str = "CONTACTED", repeated: bool = True, owner: str = ann) -> leads.LeadCaptured:
        snapshot = leads.LeadSnapshot(name="张三", status=lead_pb2.LeadStatus.Value(f"LEAD_STATUS_{status}"))
        return leads.LeadCaptured(owner_id=owner, lead=snapshot, repeated=repeated)

    id = await office.hear(again(), by=rule)
    await office.hear(again(), by=rule, event_id=id)
    await office.hear(again("DISQUALIFIED"), by=rule)
    await office.hear(again("CONVERTED"), by=rule)
    await office.hear(again(repeated=False), by=rule)
    await office.hear(again(owner=""), by=rule)
    await office.hear(again(), by=office.ann)
    await office.hear(again(), by=rule, at=NOW - timedelta(days=8))
    found = await office.inbox(office.ann, order_by="createTime")
    assert [one.title for one in found] == [
        "线索“张三”再次联系了我们", "已关闭的线索“张三”再次联系了我们", "已转为客户的线索“张三”再次联系了我们",
    ]  # fmt: skip
    assert {one.kind for one in found} == {pb.NOTIFICATION_KIND_CAME_AGAIN}
    for _ in range(20):
        await office.hear(again("NEW"), by=rule)
    assert (await office.inbox(office.ann, order_by="createTime"))[-1].title.startswith("另有 ")


async def test_customers_on_the_way_to_the_pool_and_shared_ones(office: Office) -> None:
    ann, snapshot = str(office.ann.person_id), customers.CustomerSnapshot(display_name="联想")
    soon = stamp(NOW + timedelta(days=7))
    await office.hear(customers.CustomerReturnWarned(owner_id=ann, customer=snapshot, return_time=soon))
    await office.hear(customers.CustomerReturned(previous_owner_id=ann, customer=snapshot, idle=True))
    await office.hear(customers.CustomerReturned(previous_owner_id=ann, customer=snapshot), by=office.ann)
    await office.hear(customers.CustomerShared(with_person_id=ann, customer=snapshot))
    await office.hear(customers.CustomerShared(with_team_id=str(uuid4()), customer=snapshot))
    found = await office.inbox(office.ann, order_by="createTime")
    assert [one.title for one in found] == [
        "客户“联想”即将退回公海", "客户“联想”已退回公海", "王经理与你共享了客户“联想”",
    ]  # fmt: skip
    assert found[0].due_time == soon


async def test_whom_a_note_mentions_is_told_whatever_it_is_on(office: Office) -> None:
    both = [str(office.ann.person_id), str(office.boss.person_id)]
    record = str(uuid4())
    for event in (
        leads.NoteCreated(record_type="lead", record_id=record, mentioned_ids=both),
        customers.NoteCreated(record_type="customer", record_id=record, mentioned_ids=both),
        sales.NoteUpdated(record_type="opportunity", record_id=record, mentioned_ids=both),
        servicedesk.NoteCreated(record_type="ticket", record_id=record, mentioned_ids=both),
        sales.ProductNoteCreated(record_type="product", record_id=record, mentioned_ids=both),
        marketing.NoteCreated(record_type="campaign", record_id=record, mentioned_ids=both),
        servicedesk.NoteUpdated(record_type="ticket", record_id=record),
    ):
        event_id = await office.hear(event)
        await office.hear(event, event_id=event_id)
    found = await office.inbox(office.ann, order_by="createTime")
    assert [one.title for one in found] == ["王经理在备注中提到了你"] * 6
    kinds = ["lead", "customer", "opportunity", "ticket", "product", "campaign"]
    assert [one.record_type for one in found] == kinds
    assert {one.kind for one in found} == {pb.NOTIFICATION_KIND_MENTIONED} and found[0].record_id == record
    assert await office.inbox(office.boss) == []  # who wrote it
    await office.hear(sales.ProductDeleted(product_id=record), UUID(record))
    await office.hear(marketing.CampaignDeleted(campaign_id=record), UUID(record))
    left = await office.inbox(office.ann, order_by="createTime")
    assert [one.record_type for one in left] == kinds[:4]


async def test_read_unread_archive_and_all(office: Office) -> None:
    for name in ("one", "two", "three"):
        await office.given(name=name)
    three, two, one = await office.inbox(office.ann)
    read = await office.verb(office.ann, "MarkRead", one.id, request_id="a")
    assert not read.unread and read.HasField("read_time")
    assert await office.verb(office.ann, "MarkRead", one.id, request_id="a") == read
    assert await office.unread(office.ann) == 2
    first = await office.inbox(office.ann, order_by="unread desc, createTime desc", page_size=2)
    assert [found.id for found in first] == [three.id, two.id]
    assert [found.id for found in await office.inbox(office.ann, filter="unread = false")] == [one.id]
    assert (await office.verb(office.ann, "MarkUnread", one.id)).unread
    await office.verb(office.ann, "ArchiveNotification", two.id)
    assert [found.id for found in await office.inbox(office.ann)] == [three.id, one.id]
    assert [found.id for found in await office.inbox(office.ann, archived=True)] == [two.id]
    assert await office.unread(office.ann) == 2
    until = service_pb.MarkAllReadRequest(until_time=one.create_time)
    marked = await office.ask(office.ann, "MarkAllRead", until, service_pb.MarkAllReadResponse)
    assert (marked.marked_count, marked.unread_count) == (1, 1)
    others = service_pb.MarkAllReadRequest(kind=pb.NOTIFICATION_KIND_DUE)
    assert (
        await office.ask(office.ann, "MarkAllRead", others, service_pb.MarkAllReadResponse)
    ).unread_count == 1
    every = service_pb.MarkAllReadRequest()
    assert (
        await office.ask(office.ann, "MarkAllRead", every, service_pb.MarkAllReadResponse)
    ).unread_count == 0
    assert not (await office.verb(office.ann, "UnarchiveNotification", two.id)).HasField("archive_time")
    assert await office.unread(office.ann) == 1
    told = [data["unreadCount"] for name, _, data in await office.events() if name.endswith("inbox.changed")]
    assert told == [2, 3, 2, 1, 0, 1]


async def test_every_change_is_told_to_its_person_alone_with_the_count(office: Office) -> None:
    await office.given()
    await office.given(owner=office.boss, by=office.ann)
    (one,) = await office.inbox(office.ann)
    await office.verb(office.ann, "MarkRead", one.id)
    told = [(name, headers, data) for name, headers, data in await office.events()]
    assert [(name, data["unreadCount"]) for name, _, data in told if data["ownerId"] == str(office.ann.person_id)] == [
        ("notifications.notification.created", 1), ("notifications.inbox.changed", 0),
    ]  # fmt: skip
    for _, headers, data in told:
        assert headers["kehu-for"] == data["ownerId"] and headers["kehu-right"] == ""
    created = told[0][2]["notification"]
    assert (created["titleEn"], created["titleZh"]) == (
        "王经理 gave you the lead 张三", "王经理将线索“张三”分配给了你",
    )  # fmt: skip


async def test_each_person_reads_in_their_language(office: Office) -> None:
    await office.given()
    english = identity.PersonSnapshot(display_name="Ann", language_code="en-GB")
    told = identity.PersonUpdated(person_id=str(office.ann.person_id), person=english)
    await office.hear(told, office.ann.person_id, 3)
    older = identity.PersonSnapshot(display_name="Ann", language_code="zh-CN")
    await office.hear(identity.PersonCreated(person=older), office.ann.person_id, 1)
    (one,) = await office.inbox(office.ann)
    assert one.title == "王经理 gave you the lead 张三"
    await office.given(owner=office.boss, by=office.ann)
    await office.hear(identity.TenantUpdated(language_code="en"), office.boss.tenant_id, 2)
    assert [one.title for one in await office.inbox(office.boss)] == ["Ann gave you the lead 张三"]


async def test_what_is_muted_is_not_told(office: Office) -> None:
    def update(**values: Any) -> service_pb.UpdateNotificationPreferencesRequest:
        made = service_pb.UpdateNotificationPreferencesRequest(
            notification_preferences=pb.NotificationPreferences(**values)
        )
        made.update_mask.paths.append("muted_kinds")
        return made

    method = "UpdateNotificationPreferences"
    first = await office.ask(
        office.ann, "GetNotificationPreferences", service_pb.GetNotificationPreferencesRequest(), pb.NotificationPreferences
    )  # fmt: skip
    assert list(first.muted_kinds) == []
    asked = update(muted_kinds=[pb.NOTIFICATION_KIND_ASSIGNED], etag=first.etag)
    set_ = await office.ask(office.ann, method, asked, pb.NotificationPreferences)
    assert list(set_.muted_kinds) == [pb.NOTIFICATION_KIND_ASSIGNED]
    await refused(
        Code.ABORTED, "ETAG_MISMATCH", office.ask(office.ann, method, asked, pb.NotificationPreferences)
    )
    muted = await office.given()
    await office.given(owner=office.boss, by=office.ann)
    assert await office.inbox(office.ann) == [] and len(await office.inbox(office.boss)) == 1
    await office.ask(office.ann, method, update(etag=set_.etag), pb.NotificationPreferences)
    await office.given(event_id=muted)
    assert await office.inbox(office.ann) == []
    await office.given()
    assert len(await office.inbox(office.ann)) == 1


async def test_no_right_opens_anothers_inbox(office: Office) -> None:
    await office.given()
    (one,) = await office.inbox(office.ann)
    rival = replace(somebody("rival"), person_id=office.ann.person_id)
    for who in (office.boss, rival):
        assert await office.inbox(who) == [] and await office.unread(who) == 0
        assert await office.inbox(who, filter=f'personId = "{office.ann.person_id}"') == []
        for name in (
            "GetNotification",
            "MarkRead",
            "MarkUnread",
            "ArchiveNotification",
            "UnarchiveNotification",
        ):
            await refused(Code.NOT_FOUND, "NOT_FOUND", office.verb(who, name, one.id))
        await office.ask(who, "MarkAllRead", service_pb.MarkAllReadRequest(), service_pb.MarkAllReadResponse)
    assert (await office.inbox(office.ann)) == [one]


async def test_bad_input(office: Office) -> None:
    await refused(Code.NOT_FOUND, "NOT_FOUND", office.verb(office.ann, "MarkRead", str(uuid4())))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", office.verb(office.ann, "MarkRead", "x"))
    for asked in ({"filter": "kind = NEWS"}, {"order_by": "title"}, {"page_token": "x"}, {"page_size": -1}):
        problem = None
        try:
            await office.inbox(office.ann, **asked)
        except Exception as error:
            problem = error
        assert problem is not None and getattr(problem, "code", None) is Code.INVALID_ARGUMENT, asked
    await refused(
        Code.UNAUTHENTICATED, "SIGN_IN_REQUIRED",
        office.ask(None, "CountUnread", service_pb.CountUnreadRequest(), service_pb.CountUnreadResponse),
    )  # fmt: skip


async def test_pages_neither_lose_nor_repeat_while_more_comes(office: Office) -> None:
    for number in range(9):
        await office.given(name=str(number))
    request = service_pb.ListNotificationsRequest(page_size=4)
    seen: list[str] = []
    while True:
        page = await office.ask(
            office.ann, "ListNotifications", request, service_pb.ListNotificationsResponse
        )
        seen += [one.id for one in page.notifications]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        await office.hear(
            leads.LeadReclaimed(
                previous_owner_id=str(office.ann.person_id), lead=leads.LeadSnapshot(name="later")
            )
        )
    assert len(seen) == len(set(seen)) == 9
    anothers = service_pb.ListNotificationsRequest(page_size=4, page_token=request.page_token)
    await refused(
        Code.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH",
        office.ask(office.boss, "ListNotifications", anothers, service_pb.ListNotificationsResponse),
    )  # fmt: skip


async def test_the_count_is_right_whoever_does_what_at_once(office: Office) -> None:
    await asyncio.gather(*(office.given(name=f"{n}") for n in range(8)))
    found = await office.inbox(office.ann)
    await asyncio.gather(
        *(office.verb(office.ann, "MarkRead", one.id) for one in found[:5]),
        *(office.given(name=f"more {n}") for n in range(2)),
        office.verb(office.ann, "ArchiveNotification", found[7].id),
    )
    assert await office.unread(office.ann) == len(await office.inbox(office.ann, filter="unread = true")) == 4
    last = [data for _, _, data in await office.events() if data["ownerId"] == str(office.ann.person_id)][-1]
    assert last["unreadCount"] == 4
