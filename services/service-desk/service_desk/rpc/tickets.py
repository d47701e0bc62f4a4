"""TicketService."""

from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty
from kehu.servicedesk.v1 import ticket_comment_pb2, ticket_pb2
from kehu.servicedesk.v1 import ticket_service_pb2 as pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.owners import Owner, owner_for
from chassis.rpc import Call, Face
from service_desk import comment as comments
from service_desk import ticket as use
from service_desk.comment import TicketComment
from service_desk.custom_fields import CUSTOM_FIELDS
from service_desk.errors import use_reply
from service_desk.rpc.messages import COMMENT, TICKET
from service_desk.rpc.peers import asker_of
from service_desk.ticket import CHANNELS, PRIORITIES, STATUSES, Asker, Ticket

face = Face("kehu.servicedesk.v1.TicketService", custom_fields=CUSTOM_FIELDS)
RIGHT = "tickets"
TICKETS = Listing(
    Ticket,
    RIGHT,
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "status": Field("status", Kind.ENUM, values=STATUSES, prefix="TICKET_STATUS_"),
        "priority": Field("urgency", Kind.ENUM, sortable=True, values=PRIORITIES, prefix="TICKET_PRIORITY_"),
        "channel": Field("channel", Kind.ENUM, values=CHANNELS, prefix="TICKET_CHANNEL_"),
        "category": Field("category", Kind.TEXT),
        "customerId": Field("customer_id", Kind.UUID, nullable=True),
        "contactId": Field("contact_id", Kind.UUID, nullable=True),
        "orderId": Field("order_id", Kind.UUID, nullable=True),
        "productId": Field("product_id", Kind.UUID, nullable=True),
        "tags": Field("tags", Kind.TAGS),
        "number": Field("number", Kind.TEXT, sortable=True),
        "externalKey": Field("external_key", Kind.TEXT),
        "firstResponseTime": Field("first_response_time", Kind.TIMESTAMP, nullable=True),
        "resolveTime": Field("resolve_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "rating": Field("rating", Kind.INTEGER, nullable=True),
        "rateTime": Field("rate_time", Kind.TIMESTAMP, sortable=True, nullable=True),
    },
    search=True,
    custom_fields=True,
)
# Whoever sees the ticket sees what was said about it; the ticket is looked up first.
COMMENTS = Listing(
    TicketComment,
    None,
    {**RECORD_FIELDS, "ticketId": Field("ticket_id", Kind.UUID)},
    default_order="createTime",
)


async def _ticket(tx: Transaction, id: str, etag: str, field: str = "id") -> Ticket:
    ticket = await tx.get(Ticket, parse_id(id, field), right=RIGHT)
    tx.check_etag(ticket, etag)
    return ticket


async def _answer(tx: Transaction, ticket: Ticket) -> ticket_pb2.Ticket:
    await tx.session.flush()
    return TICKET.message(ticket)


@face.read("GetTicket")
async def get_ticket(request: pb.GetTicketRequest, call: Call) -> ticket_pb2.Ticket:
    return TICKET.message(await TICKETS.get(call, request.id))


@face.read("ListTickets")
async def list_tickets(request: pb.ListTicketsRequest, call: Call) -> pb.ListTicketsResponse:
    page = await TICKETS.page(call, request)
    return pb.ListTicketsResponse(
        tickets=[TICKET.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@dataclass(frozen=True, slots=True)
class _Outside:
    """What other services know of a new ticket."""

    owner: Owner
    asker: Asker


async def _outside(request: pb.CreateTicketRequest, call: Call) -> _Outside:
    owner = await owner_for(call, request.ticket.owner_id, RIGHT, "ticket.ownerId")
    return _Outside(owner, await asker_of(call, TICKET.values(request.ticket)))


@face.write("CreateTicket", prepare=_outside)
async def create(request: pb.CreateTicketRequest, tx: Transaction, outside: _Outside) -> ticket_pb2.Ticket:
    id = parse_id(request.ticket_id, "ticketId") if request.ticket_id else None
    values = TICKET.values(request.ticket)
    return await _answer(tx, await use.open_ticket(tx, values, outside.asker, outside.owner, id))


async def _asker(request: pb.UpdateTicketRequest, call: Call) -> Asker:
    values = TICKET.values(request.ticket, request.update_mask)
    if not (values.get("customer_id") or values.get("contact_id")):
        return Asker()
    present = await TICKETS.get(call, request.ticket.id, "ticket.id")
    return await asker_of(call, values, present["customer_id"])


@face.write("UpdateTicket", prepare=_asker)
async def update(request: pb.UpdateTicketRequest, tx: Transaction, asker: Asker) -> ticket_pb2.Ticket:
    ticket = await _ticket(tx, request.ticket.id, request.ticket.etag, "ticket.id")
    await use.change_ticket(tx, ticket, TICKET.values(request.ticket, request.update_mask), asker)
    return await _answer(tx, ticket)


@face.write("DeleteTicket")
async def delete(request: pb.DeleteTicketRequest, tx: Transaction) -> Empty:
    await use.drop_ticket(tx, await _ticket(tx, request.id, request.etag))
    return Empty()


async def _new_owner(request: pb.AssignTicketRequest, call: Call) -> Owner:
    return await owner_for(call, request.owner_id, RIGHT, "ownerId")


@face.write("AssignTicket", prepare=_new_owner)
async def assign(request: pb.AssignTicketRequest, tx: Transaction, owner: Owner) -> ticket_pb2.Ticket:
    ticket = await _ticket(tx, request.id, request.etag)
    use.assign_ticket(tx, ticket, owner)
    return await _answer(tx, ticket)


@face.write("ReplyToTicket")
async def reply(request: pb.ReplyToTicketRequest, tx: Transaction) -> ticket_comment_pb2.TicketComment:
    ticket = await _ticket(tx, request.id, request.etag)
    use.answer_customer(tx, ticket)
    return await _said(tx, ticket, comments.REPLY, request.body)


@face.write("AddTicketComment")
async def add_comment(
    request: pb.AddTicketCommentRequest, tx: Transaction
) -> ticket_comment_pb2.TicketComment:
    ticket = await _ticket(tx, request.id, request.etag)
    kind = ticket_comment_pb2.CommentKind.Name(request.kind).removeprefix("COMMENT_KIND_")
    if kind not in (comments.NOTE, comments.CUSTOMER_MESSAGE):
        raise use_reply()
    if kind == comments.CUSTOMER_MESSAGE:
        use.hear_customer(tx, ticket)
    ticket.need_unclosed()
    return await _said(tx, ticket, kind, request.body, request.author_name)


async def _said(
    tx: Transaction, ticket: Ticket, kind: str, body: str, author: str = ""
) -> ticket_comment_pb2.TicketComment:
    made = comments.comment(tx, ticket, kind, body.strip(), author.strip())
    await tx.session.flush()
    return COMMENT.message(made)


@face.read("ListTicketComments")
async def list_comments(request: pb.ListTicketCommentsRequest, call: Call) -> pb.ListTicketCommentsResponse:
    ticket = await TICKETS.get(call, request.ticket_id, "ticketId")
    page = await COMMENTS.page(call, request, where={"ticketId": ticket["id"]})
    return pb.ListTicketCommentsResponse(
        ticket_comments=[COMMENT.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("PendTicket")
async def pend(request: pb.PendTicketRequest, tx: Transaction) -> ticket_pb2.Ticket:
    ticket = await _ticket(tx, request.id, request.etag)
    use.pend(tx, ticket, request.reason.strip())
    return await _answer(tx, ticket)


@face.write("ResolveTicket")
async def resolve(request: pb.ResolveTicketRequest, tx: Transaction) -> ticket_pb2.Ticket:
    ticket = await _ticket(tx, request.id, request.etag)
    use.resolve(tx, ticket, request.resolution.strip())
    return await _answer(tx, ticket)


@face.write("ReopenTicket")
async def reopen(request: pb.ReopenTicketRequest, tx: Transaction) -> ticket_pb2.Ticket:
    ticket = await _ticket(tx, request.id, request.etag)
    use.reopen(tx, ticket)
    if reason := request.reason.strip():
        comments.comment(tx, ticket, comments.NOTE, reason)
    return await _answer(tx, ticket)


@face.write("CloseTicket")
async def close(request: pb.CloseTicketRequest, tx: Transaction) -> ticket_pb2.Ticket:
    ticket = await _ticket(tx, request.id, request.etag)
    use.close(tx, ticket)
    return await _answer(tx, ticket)


@face.write("RateTicket")
async def rate(request: pb.RateTicketRequest, tx: Transaction) -> ticket_pb2.Ticket:
    ticket = await _ticket(tx, request.id, request.etag)
    use.rate(tx, ticket, request.rating, request.comment.strip())
    return await _answer(tx, ticket)
