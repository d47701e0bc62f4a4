"""Tickets over gRPC: their way from opening to closing, what is said about them, who may, and what is found."""

import asyncio
import csv
import io
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.exports.v1 import exports_pb2 as exports
from kehu.history.v1 import history_pb2
from kehu.savedviews.v1 import saved_views_pb2 as views
from kehu.servicedesk.v1 import customer_facet_pb2
from kehu.servicedesk.v1 import ticket_comment_pb2 as said
from kehu.servicedesk.v1 import ticket_pb2 as t
from kehu.servicedesk.v1 import ticket_service_pb2 as pb
from sqlalchemy import text

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import (
    DatabaseUrls,
    Harness,
    Keys,
    NotesAndFiles,
    eventually,
    refused,
    running_service,
    somebody,
)
from chassis.wire import from_dict, to_dict
from service_desk.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
TICKETS = "kehu.servicedesk.v1.TicketService/"
VIEWS = "kehu.servicedesk.v1.SavedViewService/"
BOSS = somebody("acme")
STRANGER = somebody("globex")


class Desk:
    """The service, its database's address, and short ways to call it."""

    def __init__(self, harness: Harness, urls: DatabaseUrls) -> None:
        self.harness, self.urls = harness, urls

    async def open(self, who: Principal = BOSS, request_id: str = "", **fields: Any) -> t.Ticket:
        fields.setdefault("subject", "Printer on fire")
        request = pb.CreateTicketRequest(ticket=t.Ticket(**fields), request_id=request_id)
        return await self.harness.ask(who, TICKETS + "CreateTicket", request, t.Ticket)

    async def get(self, id: str, who: Principal = BOSS) -> t.Ticket:
        return await self.harness.ask(who, TICKETS + "GetTicket", pb.GetTicketRequest(id=id), t.Ticket)

    async def verb(self, name: str, request: Any, answer: Any = t.Ticket, who: Principal = BOSS) -> Any:
        return await self.harness.ask(who, TICKETS + name, request, answer)

    async def found(self, who: Principal = BOSS, **asked: Any) -> list[str]:
        request = pb.ListTicketsRequest(page_size=2, **asked)
        subjects: list[str] = []
        while True:
            page = await self.harness.ask(who, TICKETS + "ListTickets", request, pb.ListTicketsResponse)
            subjects += [ticket.subject for ticket in page.tickets]
            if not page.next_page_token:
                return subjects
            request.page_token = page.next_page_token

    async def events(self, id: str) -> list[str]:
        """What was published of a ticket, in order: waiting in the outbox or already sent."""
        rows = await self.harness.running.database.read(
            BOSS, "SELECT subject FROM outbox WHERE record_id = $1::uuid ORDER BY seq", id
        )
        return [row["subject"].split(".servicedesk.")[1] for row in rows]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Desk]:
    urls = service_database("servicedesk")
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        nobody = {"customers": f"127.0.0.1:{taken.getsockname()[1]}"}
        async with running_service(SERVICE, urls, nats_url, keys, addresses=nobody) as harness:
            yield Desk(harness, urls)


def precondition(reason: str, call: Awaitable[Any]) -> Awaitable[Problem]:
    return refused(Code.FAILED_PRECONDITION, reason, call)


async def test_a_ticket_goes_its_way(desk: Desk) -> None:
    made = await desk.open(
        requester_name="王芳", requester_phone="138 0013 8000", requester_email="Wang@Example.CN"
    )
    assert made.status == t.TICKET_STATUS_NEW and made.number.startswith("T-20")
    assert (made.priority, made.channel) == (t.TICKET_PRIORITY_NORMAL, t.TICKET_CHANNEL_PHONE)
    assert (made.requester_phone, made.requester_email) == ("+8613800138000", "wang@example.cn")
    assert made.owner_id == str(BOSS.person_id) and not made.HasField("first_response_time")

    taken = await desk.verb("AssignTicket", pb.AssignTicketRequest(id=made.id, owner_id=made.owner_id))
    assert taken.status == t.TICKET_STATUS_OPEN and taken.HasField("assign_time")

    answer = pb.ReplyToTicketRequest(id=made.id, body=" Please unplug it. ")
    reply = await desk.verb("ReplyToTicket", answer, said.TicketComment)
    assert (reply.body, reply.kind, reply.author_name) == (
        "Please unplug it.",
        said.COMMENT_KIND_REPLY,
        BOSS.name,
    )
    first = (await desk.get(made.id)).first_response_time
    assert first.seconds >= made.create_time.seconds
    await desk.verb("ReplyToTicket", answer, said.TicketComment)
    seen = await desk.get(made.id)
    assert (seen.reply_count, seen.first_response_time) == (2, first)

    waiting = await desk.verb("PendTicket", pb.PendTicketRequest(id=made.id, reason="spare part"))
    assert (waiting.status, waiting.pend_reason) == (t.TICKET_STATUS_PENDING, "spare part")
    heard = pb.AddTicketCommentRequest(id=made.id, kind=said.COMMENT_KIND_CUSTOMER_MESSAGE, body="还在烧")
    message = await desk.verb("AddTicketComment", heard, said.TicketComment)
    assert message.author_name == "王芳"
    seen = await desk.get(made.id)
    assert (seen.status, seen.pend_reason) == (t.TICKET_STATUS_OPEN, "")

    done = await desk.verb("ResolveTicket", pb.ResolveTicketRequest(id=made.id, resolution="Extinguished"))
    assert done.status == t.TICKET_STATUS_RESOLVED and done.HasField("resolve_time")
    again = await desk.verb("ReopenTicket", pb.ReopenTicketRequest(id=made.id, reason="smoke"))
    assert (again.status, again.reopen_count) == (t.TICKET_STATUS_OPEN, 1)
    assert not again.HasField("resolve_time") and again.first_response_time == first
    await desk.verb("ResolveTicket", pb.ResolveTicketRequest(id=made.id, resolution="Replaced"))
    over = await desk.verb("CloseTicket", pb.CloseTicketRequest(id=made.id))
    assert over.status == t.TICKET_STATUS_CLOSED and over.HasField("close_time")

    page = await desk.verb(
        "ListTicketComments",
        pb.ListTicketCommentsRequest(ticket_id=made.id, page_size=3),
        pb.ListTicketCommentsResponse,
    )
    rest = await desk.verb(
        "ListTicketComments",
        pb.ListTicketCommentsRequest(ticket_id=made.id, page_size=3, page_token=page.next_page_token),
        pb.ListTicketCommentsResponse,
    )
    bodies = [one.body for one in (*page.ticket_comments, *rest.ticket_comments)]
    assert (
        bodies == ["Please unplug it.", "Please unplug it.", "还在烧", "smoke"] and not rest.next_page_token
    )
    assert await desk.events(made.id) == [
        "ticket.opened", "ticket.assigned", "ticket.responded", "ticket.responded", "ticket.pended", "ticket.updated",
        "ticket.resolved", "ticket.reopened", "ticket.resolved", "ticket.closed",
    ]  # fmt: skip


async def test_a_resolution_is_a_first_response(desk: Desk) -> None:
    made = await desk.open()
    done = await desk.verb("ResolveTicket", pb.ResolveTicketRequest(id=made.id, resolution="Told at once"))
    assert done.first_response_time == done.resolve_time


async def test_what_cannot_follow_is_refused(desk: Desk) -> None:
    made = await desk.open()
    reopen, close = pb.ReopenTicketRequest(id=made.id), pb.CloseTicketRequest(id=made.id)
    resolve = pb.ResolveTicketRequest(id=made.id, resolution="ok")
    await precondition("TICKET_NOT_REOPENABLE", desk.verb("ReopenTicket", reopen))
    await precondition("TICKET_NOT_RESOLVED", desk.verb("CloseTicket", close))
    await desk.verb("ResolveTicket", resolve)
    await precondition("TICKET_NOT_RESOLVABLE", desk.verb("ResolveTicket", resolve))
    pend = pb.PendTicketRequest(id=made.id, reason="x")
    await precondition("TICKET_NOT_PENDABLE", desk.verb("PendTicket", pend))
    await desk.verb("CloseTicket", close)
    before = await desk.get(made.id)
    closed: list[Awaitable[Any]] = [
        desk.verb("UpdateTicket", pb.UpdateTicketRequest(ticket=t.Ticket(id=made.id, subject="new"))),
        desk.verb("AssignTicket", pb.AssignTicketRequest(id=made.id, owner_id=made.owner_id)),
        desk.verb("ReplyToTicket", pb.ReplyToTicketRequest(id=made.id, body="hi"), said.TicketComment),
        desk.verb(
            "AddTicketComment",
            pb.AddTicketCommentRequest(id=made.id, kind=said.COMMENT_KIND_NOTE, body="hi"),
            said.TicketComment,
        ),
    ]
    for call in closed:
        await precondition("TICKET_CLOSED", call)
    assert await desk.get(made.id) == before
    comments = pb.ListTicketCommentsRequest(ticket_id=made.id)
    page = await desk.verb("ListTicketComments", comments, pb.ListTicketCommentsResponse)
    assert not page.ticket_comments


async def test_a_resolution_is_rated_once_and_thought_better_of_for_a_while(desk: Desk) -> None:
    who = somebody("rated")
    made = await desk.open(who)

    async def rate(rating: int, comment: str = "", by: Principal = who, **more: str) -> t.Ticket:
        request = pb.RateTicketRequest(id=made.id, rating=rating, comment=comment, **more)
        return await desk.verb("RateTicket", request, who=by)

    async def resolve() -> None:
        await desk.verb("ResolveTicket", pb.ResolveTicketRequest(id=made.id, resolution="ok"), who=who)

    await precondition("TICKET_NOT_RATABLE", rate(5))
    await resolve()
    for wrong in (0, 6, -1):
        problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", rate(wrong))
        assert problem.violations[0].field == "rating"
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", rate(3, "x" * 2001))
    reader = somebody("rated", rights={"tickets": Rights(Reach.ALL, Reach.OWN)})
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", rate(1, by=reader))
    await refused(Code.NOT_FOUND, "NOT_FOUND", rate(1, by=STRANGER))
    await refused(Code.ABORTED, "ETAG_MISMATCH", rate(1, etag="stale"))
    assert not (await desk.get(made.id, who)).HasField("rate_time")

    first = await rate(2, " 太慢 ", request_id="once")
    assert (first.rating, first.rating_comment) == (2, "太慢") and first.HasField("rate_time")
    assert await rate(2, " 太慢 ", request_id="once") == first
    assert (await rate(2, "太慢")).etag == first.etag  # nothing has changed
    await desk.verb("CloseTicket", pb.CloseTicketRequest(id=made.id), who=who)
    second = await rate(4)
    assert (second.rating, second.rating_comment, second.rate_time) == (4, "", first.rate_time)
    # A bad rating is not got rid of by reopening; the next resolution is rated anew.
    await desk.verb("ReopenTicket", pb.ReopenTicketRequest(id=made.id), who=who)
    await precondition("TICKET_NOT_RATABLE", rate(5))
    assert (await desk.get(made.id, who)).rating == 4
    async with desk.harness.running.database.transaction(who) as tx:
        await tx.session.execute(text("UPDATE tickets SET rate_time = rate_time - interval '31 days'"))
    await resolve()
    anew = await rate(1)
    assert anew.rating == 1 and anew.rate_time.ToDatetime() > anew.resolve_time.ToDatetime()
    async with desk.harness.running.database.transaction(who) as tx:
        await tx.session.execute(
            text(
                "UPDATE tickets SET rate_time = rate_time - interval '31 days',"
                " resolve_time = resolve_time - interval '32 days'"
            )
        )
    await precondition("RATING_FIXED", rate(5))
    sent = "SELECT 1 FROM outbox WHERE record_id = $1::uuid AND subject LIKE '%.ticket.rated'"
    assert len(await desk.harness.running.database.read(who, sent, made.id)) == 3
    await desk.open(who, subject="never rated")
    assert await desk.found(who, filter="rating <= 2", order_by="rateTime desc") == ["Printer on fire"]
    assert await desk.found(who, filter="rating = null") == ["never rated"]
    for record_type in ("ticket", "saved_view"):
        listed = history_pb2.ListChangesRequest(record_type=record_type, record_id=made.id)
        kept = desk.harness.ask(
            who, "kehu.servicedesk.v1.HistoryService/ListChanges", listed, history_pb2.ListChangesResponse
        )
        if record_type == "ticket":
            fields = {f.field: (f.old_value, f.new_value) for f in (await kept).changes[0].fields}
            assert fields["rating"] == ("4", "1")
        else:
            await refused(Code.NOT_FOUND, "NOT_FOUND", kept)  # known as a kind, but none of that id


async def test_bad_input_is_refused_by_name(desk: Desk) -> None:
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", desk.open(subject=""))
    assert problem.violations[0].field == "ticket.subject"
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", desk.open(subject="   "))
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", desk.open(requester_email="no address"))
    assert problem.violations[0].field == "ticket.requesterEmail"
    await refused(Code.INVALID_ARGUMENT, "CONTACT_WITHOUT_CUSTOMER", desk.open(contact_id=str(uuid4())))
    made = await desk.open()
    reply = pb.AddTicketCommentRequest(id=made.id, kind=said.COMMENT_KIND_REPLY, body="hi")
    await refused(
        Code.INVALID_ARGUMENT, "USE_REPLY", desk.verb("AddTicketComment", reply, said.TicketComment)
    )
    written = pb.UpdateTicketRequest(
        ticket=t.Ticket(id=made.id, number="T-1"), update_mask=FieldMask(paths=["number"])
    )
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", desk.verb("UpdateTicket", written))
    assert (await desk.get(made.id)) == made


async def test_a_customer_is_asked_for_and_not_believed(desk: Desk) -> None:
    """Customers is away: nothing is opened in a name nobody has vouched for."""
    await refused(
        Code.UNAVAILABLE,
        "MODULE_UNAVAILABLE",
        desk.open(customer_id=str(uuid4()), subject="vouched for by none"),
    )
    assert await desk.found(query="vouched") == []


async def test_fields_change_once(desk: Desk) -> None:
    made = await desk.open(subject="Tonert alle", tags=["printer"])
    wanted = t.Ticket(id=made.id, etag=made.etag, subject="Toner empty", priority=t.TICKET_PRIORITY_URGENT)
    request = pb.UpdateTicketRequest(ticket=wanted, request_id="once")
    changed = await desk.verb("UpdateTicket", request)
    assert (changed.subject, changed.priority, list(changed.tags)) == (
        "Toner empty",
        t.TICKET_PRIORITY_URGENT,
        ["printer"],
    )
    assert await desk.verb("UpdateTicket", request) == changed
    stale = pb.UpdateTicketRequest(ticket=wanted)
    await refused(Code.ABORTED, "ETAG_MISMATCH", desk.verb("UpdateTicket", stale))
    same = pb.UpdateTicketRequest(ticket=t.Ticket(id=made.id, subject="Toner empty"))
    assert (await desk.verb("UpdateTicket", same)).etag == changed.etag
    assert await desk.events(made.id) == ["ticket.opened", "ticket.updated"]
    listed = history_pb2.ListChangesRequest(record_type="ticket", record_id=made.id)
    kept = await desk.harness.ask(
        BOSS, "kehu.servicedesk.v1.HistoryService/ListChanges", listed, history_pb2.ListChangesResponse
    )
    assert {f.field: (f.old_value, f.new_value) for f in kept.changes[0].fields} == {
        "priority": ("NORMAL", "URGENT"),
        "subject": ("Tonert alle", "Toner empty"),
    }


async def test_a_repeated_opening_opens_once_and_numbers_have_no_gaps(desk: Desk) -> None:
    who = somebody("numbers")
    first = await desk.open(who, request_id="again")
    assert await desk.open(who, request_id="again") == first
    made = await asyncio.gather(*(desk.open(who) for _ in range(10)))
    numbers = sorted(int(ticket.number[-6:]) for ticket in [first, *made])
    assert numbers == list(range(1, 12))
    key = await desk.open(who, external_key="K1")
    await refused(Code.ALREADY_EXISTS, "EXTERNAL_KEY_TAKEN", desk.open(who, external_key="K1"))
    assert (await desk.open(somebody("others"), external_key="K1")).external_key == key.external_key


async def test_rights_and_tenants(desk: Desk) -> None:
    team = new_id()
    agent = somebody("rights", team=team, rights={"tickets": Rights(Reach.TEAM, Reach.OWN)})
    mate = somebody("rights", team=team, rights={"tickets": Rights(Reach.OWN, Reach.OWN)})
    none = somebody("rights", rights={"customers": Rights(Reach.ALL, Reach.ALL)})
    ours = await desk.open(mate, subject="the mate's")
    assert (await desk.get(ours.id, agent)).id == ours.id
    resolve = pb.ResolveTicketRequest(id=ours.id, resolution="x")
    with pytest.raises(Problem) as caught:
        await desk.verb("ResolveTicket", resolve, who=agent)
    assert caught.value.code is Code.PERMISSION_DENIED
    for who, code in ((none, Code.PERMISSION_DENIED), (STRANGER, Code.NOT_FOUND)):
        with pytest.raises(Problem) as caught:
            await desk.verb("ResolveTicket", resolve, who=who)
        assert caught.value.code is code
        with pytest.raises(Problem) as caught:
            await desk.verb(
                "ListTicketComments",
                pb.ListTicketCommentsRequest(ticket_id=ours.id),
                pb.ListTicketCommentsResponse,
                who,
            )
        assert caught.value.code is code
    theirs = await desk.open(agent, subject="the agent's")
    assert await desk.found(mate) == ["the mate's"]
    assert await desk.found(agent, order_by="createTime") == ["the mate's", "the agent's"]
    assert await desk.found(STRANGER) == []
    with pytest.raises(Problem) as caught:
        await desk.get(theirs.id, mate)
    assert caught.value.code is Code.NOT_FOUND


async def test_lists_order_by_urgency_and_find_by_any_part(desk: Desk) -> None:
    who = somebody("lists")
    names = {"LOW": t.TICKET_PRIORITY_LOW, "URGENT": t.TICKET_PRIORITY_URGENT, "HIGH": t.TICKET_PRIORITY_HIGH}
    for name, priority in names.items():
        await desk.open(who, subject=name, priority=priority, category="billing", requester_name="欧阳娜娜")
    await desk.open(who, subject="normal", tags=["vip"], channel=t.TICKET_CHANNEL_CHAT)
    assert await desk.found(who, order_by="priority desc") == ["URGENT", "HIGH", "normal", "LOW"]
    assert await desk.found(who, filter='priority = "TICKET_PRIORITY_HIGH"') == ["HIGH"]
    assert await desk.found(
        who, filter='category = "billing" AND NOT priority = "LOW"', order_by="priority"
    ) == [
        "HIGH",
        "URGENT",
    ]
    assert await desk.found(who, filter='tags:"vip" AND channel = "CHAT"') == ["normal"]
    assert sorted(await desk.found(who, query="oynn")) == ["HIGH", "LOW", "URGENT"]
    problem = await refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID", desk.found(who, filter='priority = "WHENEVER"')
    )
    assert problem.violations[0].field == "filter"


async def test_the_facet_counts_what_the_caller_sees(desk: Desk) -> None:
    """Rows are put in beside the service: customers, who vouches for the customer, is away here."""
    who, customer = somebody("facet"), str(uuid4())
    made = [await desk.open(who, subject=f"ticket {n}") for n in range(3)]
    await desk.verb("ResolveTicket", pb.ResolveTicketRequest(id=made[2].id, resolution="x"), who=who)
    connection = await asyncpg.connect(desk.urls.app)
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('kehu.tenant', $1, true)", str(who.tenant_id))
            changed = await connection.execute("UPDATE tickets SET customer_id = $1", UUID(customer))
    finally:
        await connection.close()
    assert changed == "UPDATE 3"

    async def facet(who: Principal) -> customer_facet_pb2.CustomerFacet:
        request = customer_facet_pb2.GetCustomerFacetRequest(customer_id=customer)
        method = "kehu.servicedesk.v1.CustomerFacetService/GetCustomerFacet"
        return await desk.harness.ask(who, method, request, customer_facet_pb2.CustomerFacet)

    seen = await facet(who)
    assert [ticket.subject for ticket in seen.tickets] == ["ticket 1", "ticket 0", "ticket 2"]
    assert (seen.ticket_count, seen.open_ticket_count) == (3, 2)
    assert seen.last_ticket_time == made[2].create_time
    own = somebody("facet", rights={"tickets": Rights(Reach.OWN, Reach.NONE)})
    assert await facet(own) == customer_facet_pb2.CustomerFacet()
    assert await facet(STRANGER) == customer_facet_pb2.CustomerFacet()


async def test_tickets_and_what_was_said_go_out_as_files(desk: Desk) -> None:
    boss = somebody("desk-exports")
    fields: dict[str, Any] = {"subject": "=cmd", "priority": t.TICKET_PRIORITY_URGENT, "tags": ["a", "b"]}
    ticket = await desk.open(boss, **fields)
    await desk.verb(
        "ReplyToTicket", pb.ReplyToTicketRequest(id=ticket.id, body="我们看看"), said.TicketComment, boss
    )

    async def rows(kind: str, who: Principal = boss, **asked: Any) -> list[list[str]]:
        request = exports.CreateExportRequest(
            record_type=kind, format=exports.EXPORT_FORMAT_CSV, language_code="zh", **asked
        )
        method = "kehu.servicedesk.v1.ExportService/CreateExport"
        parts = await desk.harness.parts(who, method, request, exports.ExportPart)
        text = b"".join(part.content for part in parts).decode("utf-8-sig")
        return list(csv.reader(io.StringIO(text, newline="")))

    columns = ["subject", "status", "priority", "tags", "replyCount"]
    assert await rows("ticket", columns=columns, filter="priority = URGENT") == [
        ["主题", "状态", "优先级", "标签", "回复次数"], ["'=cmd", "处理中", "紧急", "a, b", "1"],
    ]  # fmt: skip
    comments: dict[str, Any] = {"parent_id": ticket.id, "columns": ["kind", "authorName", "body"]}
    assert (await rows("ticket_comment", **comments))[1:] == [["回复", boss.name, "我们看看"]]
    elsewhere = somebody("desk-exports-elsewhere")
    assert len(await rows("ticket", elsewhere, columns=columns)) == 1
    nosy = somebody("desk-exports", rights={
        "tickets": Rights(Reach.ALL), "exports": Rights(Reach.ALL, Reach.OWN),
    })  # fmt: skip
    for who in (elsewhere, nosy):
        with pytest.raises(Problem) as hidden:
            await rows("ticket_comment", who, **comments)
        assert hidden.value.code is Code.NOT_FOUND
    without = somebody("desk-exports", rights={"exports": Rights(Reach.ALL, Reach.ALL)})
    with pytest.raises(Problem) as denied:
        await rows("ticket", without)
    assert denied.value.reason == "RIGHT_MISSING"


async def test_a_deleted_ticket_is_gone(desk: Desk) -> None:
    papers = NotesAndFiles(desk.harness, "kehu.servicedesk.v1")
    made = await desk.open(subject="mistake")
    await papers.put(BOSS, "ticket", made.id, "mistaken, too")
    stale = pb.DeleteTicketRequest(id=made.id, etag="stale")
    await refused(Code.ABORTED, "ETAG_MISMATCH", desk.verb("DeleteTicket", stale, Empty))
    await desk.verb("DeleteTicket", pb.DeleteTicketRequest(id=made.id, etag=made.etag), Empty)
    with pytest.raises(Problem) as caught:
        await desk.get(made.id)
    assert caught.value.code is Code.NOT_FOUND
    assert await desk.found(query="mistake") == []
    assert await desk.events(made.id) == ["ticket.opened", "ticket.deleted"]
    assert await papers.rows(BOSS) == 0
    await eventually(lambda: papers.kept(BOSS) == [])


async def test_views_of_tickets_are_saved(desk: Desk) -> None:
    await desk.open(category="views")
    request = views.CreateSavedViewRequest(
        saved_view=views.SavedView(
            record_type="ticket", display_name="Mine", filter='category = "views" AND priority = NORMAL',
            columns=["number", "subject"], order_by="priority desc",
        )
    )  # fmt: skip
    made = await desk.harness.ask(BOSS, VIEWS + "CreateSavedView", request, views.SavedView)
    counted = await desk.harness.ask(
        BOSS, VIEWS + "CountSavedView", views.CountSavedViewRequest(id=made.id), views.CountSavedViewResponse
    )
    assert counted.count == 1
    request.saved_view.display_name, request.saved_view.filter = "Other", "mood = bad"
    await refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID",
        desk.harness.ask(BOSS, VIEWS + "CreateSavedView", request, views.SavedView),
    )  # fmt: skip


async def test_tickets_have_fields_of_the_companys_own(desk: Desk) -> None:
    boss, elsewhere = somebody("own-fields"), somebody("own-fields-elsewhere")
    create, update = "CustomFieldService/CreateCustomField", "CustomFieldService/UpdateCustomField"

    async def field(method: str, who: Principal = boss, **said: Any) -> fields.CustomField:
        kind = fields.CreateCustomFieldRequest if method == create else fields.UpdateCustomFieldRequest
        request = kind(custom_field=from_dict(fields.CustomField, said))
        return await desk.harness.ask(who, "kehu.servicedesk.v1." + method, request, fields.CustomField)

    machine: dict[str, Any] = {"recordType": "ticket", "key": "machine", "labelEn": "Machine"}
    kind: dict[str, Any] = {"kind": "CUSTOM_FIELD_KIND_TEXT", "filterable": True}
    clerk = somebody("own-fields", rights={"tickets": Rights(Reach.ALL, Reach.ALL)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", field(create, clerk, **machine, **kind))
    made = await field(create, **machine, **kind)
    await refused(Code.ALREADY_EXISTS, "CUSTOM_FIELD_KEY_TAKEN", field(create, **machine, **kind))
    hours: dict[str, Any] = {"key": "hours", "kind": "CUSTOM_FIELD_KIND_NUMBER", "required": True}
    await field(create, **{**machine, **hours})
    parent: dict[str, Any] = {
        "key": "parent",
        "kind": "CUSTOM_FIELD_KIND_REFERENCE",
        "referenceType": "ticket",
    }
    await field(create, **{**machine, **parent})

    def own(**custom: Any) -> dict[str, Any]:
        return {"custom_fields": from_dict(t.Ticket, {"customFields": custom}).custom_fields}

    def values(ticket: t.Ticket) -> dict[str, Any]:
        return {key: to_dict(value) for key, value in ticket.custom_fields.items()}

    async def wrong(who: Principal = boss, **custom: Any) -> set[str]:
        refusal = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", desk.open(who, **own(**custom)))
        return {violation.field.removeprefix("customFields.") for violation in refusal.violations}

    first = await desk.open(boss, **own(machine="GTX-7", hours=12.5))
    assert values(first) == {"machine": "GTX-7", "hours": "12.5"}
    theirs = await desk.open(elsewhere)
    assert await wrong(machine=7, hours="many", colour="red") == {"machine", "hours", "colour"}
    assert await wrong(parent=theirs.id) == {"parent", "hours"}
    assert await wrong(elsewhere, machine="GTX-7") == {"machine"}
    second = await desk.open(boss, **own(machine="GTX-8", hours="1", parent=first.id))
    machines = "customFields.machine"
    assert await desk.found(boss, filter=f'{machines} = "GTX-7"') == ["Printer on fire"]
    page = pb.ListTicketsRequest(order_by=f"{machines} desc")
    listed = await desk.verb("ListTickets", page, pb.ListTicketsResponse, boss)
    assert [ticket.id for ticket in listed.tickets] == [second.id, first.id]
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", desk.found(elsewhere, filter=f"{machines} = 1"))
    changed = t.Ticket(id=first.id, **own(machine="GTX-9"))
    mask = FieldMask(paths=["custom_fields.machine", "custom_fields.hours"])
    asked = pb.UpdateTicketRequest(ticket=changed, update_mask=mask)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", desk.verb("UpdateTicket", asked, who=boss))
    asked.update_mask.paths.pop()
    await desk.verb("UpdateTicket", asked, who=boss)
    rows = await desk.harness.running.database.read(
        boss,
        "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE record_id = $1 ORDER BY seq DESC LIMIT 1",
        UUID(first.id),
    )
    assert rows[0]["data"]["changedFields"] == ["customFields.machine"]
    assert rows[0]["data"]["ticket"]["customFields"] == {"machine": "GTX-9", "hours": "12.5"}
    export = exports.CreateExportRequest(
        record_type="ticket", format=exports.EXPORT_FORMAT_CSV, language_code="en", columns=["status", machines],
        filter=f"{machines} = GTX-9",
    )  # fmt: skip
    parts = await desk.harness.parts(
        boss, "kehu.servicedesk.v1.ExportService/CreateExport", export, exports.ExportPart
    )
    text = b"".join(part.content for part in parts).decode("utf-8-sig")
    assert text.split() == ["Status,Machine", "New,GTX-9"]
    changes = await desk.harness.ask(
        boss, "kehu.servicedesk.v1.HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="ticket", record_id=first.id), history_pb2.ListChangesResponse,
    )  # fmt: skip
    assert [f.field for f in changes.changes[0].fields] == [machines]
    view = views.SavedView(record_type="ticket", display_name="GTX-9", filter=f"{machines} = GTX-9")
    kept = await desk.harness.ask(
        boss, VIEWS + "CreateSavedView", views.CreateSavedViewRequest(saved_view=view), views.SavedView
    )
    counted = await desk.harness.ask(
        boss, VIEWS + "CountSavedView", views.CountSavedViewRequest(id=kept.id), views.CountSavedViewResponse
    )
    assert counted.count == 1
    # What is archived stays with those that have it; what is closed changes no more.
    await field(update, id=made.id, archived=True)
    assert await wrong(machine="GTX-1", hours="1") == {"machine"}
    assert values(await desk.get(first.id, boss))["machine"] == "GTX-9"
    await desk.verb("ResolveTicket", pb.ResolveTicketRequest(id=second.id, resolution="done"), who=boss)
    await desk.verb("CloseTicket", pb.CloseTicketRequest(id=second.id), who=boss)
    late = pb.UpdateTicketRequest(ticket=t.Ticket(id=second.id, **own(hours="2")))
    await precondition("TICKET_CLOSED", desk.verb("UpdateTicket", late, who=boss))
