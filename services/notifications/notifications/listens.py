"""Events of others: what becomes of them that somebody should know."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from kehu import contracts
from kehu.customers.v1 import events_pb2 as customers
from kehu.identity.v1 import events_pb2 as identity
from kehu.leads.v1 import events_pb2 as leads
from kehu.leads.v1 import lead_pb2
from kehu.marketing.v1 import events_pb2 as marketing
from kehu.sales.v1 import activity_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.servicedesk.v1 import events_pb2 as servicedesk

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.following import hear_merges, hear_purges
from chassis.mapping import to_datetime
from notifications import merged
from notifications.inbox import ASSIGNED, CAME_AGAIN, DUE, MENTIONED, POOL
from notifications.locale import Locale, keep_locale
from notifications.notification import News, forget, hide, rename, tell, withdraw
from notifications.reminder import Planned, hear

SUBSCRIPTIONS = Subscriptions()
NEWS_FOR = timedelta(days=7)
"""How long something is news. A service that begins to listen, or has been away, tells nobody what they have known for weeks."""


def _stale(envelope: Envelope) -> bool:
    return envelope.time < datetime.now(UTC) - NEWS_FOR


def _time(stamp: Timestamp) -> datetime | None:
    return to_datetime(stamp) if stamp.seconds else None


# ---- assigned


@dataclass(frozen=True, slots=True)
class _Given:
    """What tells that a record was given to somebody, what tells that it is called otherwise, and how it is called in both."""

    record_type: str
    events: Sequence[type[Message]]
    updated: type[Message]
    fields: frozenset[str]
    """Those of which its name is made."""
    name: Callable[[Any], str]


def _lead_name(event: Any) -> str:
    return event.lead.name or event.lead.company_name


_GIVEN = (
    _Given(
        "lead", (leads.LeadCreated, leads.LeadAssigned), leads.LeadUpdated, frozenset({"name", "companyName"}), _lead_name
    ),
    _Given(
        "customer", (customers.CustomerCreated, customers.CustomerAssigned), customers.CustomerUpdated,
        frozenset({"displayName"}), lambda event: event.customer.display_name,
    ),
    _Given(
        "opportunity", (sales.OpportunityCreated, sales.OpportunityAssigned), sales.OpportunityUpdated,
        frozenset({"name"}), lambda event: event.opportunity.name,
    ),
    _Given(
        "ticket", (servicedesk.TicketOpened, servicedesk.TicketAssigned), servicedesk.TicketUpdated,
        frozenset({"subject"}), lambda event: event.ticket.subject,
    ),
)  # fmt: skip


def _owned(event: Any) -> bool:
    return bool(event.owner_id)


def _owner(event: Any) -> UUID | None:
    return UUID(event.owner_id) if event.owner_id else None


def _hear_given(given: _Given, kind: type[Message]) -> None:
    @SUBSCRIPTIONS.on(kind, when=_owned)
    async def was_given(event: Any, tx: Transaction, envelope: Envelope) -> None:
        if event.owner_id == getattr(event, "previous_owner_id", ""):
            return
        await _assigned(tx, envelope, UUID(event.owner_id), given.record_type, given.name(event))


def _hear_renamed(given: _Given) -> None:
    @SUBSCRIPTIONS.on(given.updated, when=lambda event: _changes(event, given.fields))
    async def was_renamed(event: Any, tx: Transaction, envelope: Envelope) -> None:
        await rename(tx, given.record_type, envelope.record_id, given.name(event), _owner(event))


def _changes(event: Any, fields: frozenset[str]) -> bool:
    return not fields.isdisjoint(event.changed_fields)


async def _assigned(tx: Transaction, envelope: Envelope, owner: UUID, record_type: str, name: str) -> None:
    if owner == envelope.person_id or _stale(envelope):
        return
    somebody = bool(envelope.person_name)
    wording = "assigned" if somebody else "assigned by itself"
    many = "assigned many" if somebody else "assigned many by themselves"
    await tell(
        tx,
        envelope.event_id,
        owner,
        News(ASSIGNED, wording, record_type, envelope.record_id, name, many=many),
    )


for _given in _GIVEN:
    _hear_renamed(_given)
    for _kind in _given.events:
        _hear_given(_given, _kind)


@SUBSCRIPTIONS.on(customers.CustomerShared, when=lambda event: bool(event.with_person_id))
async def shared(event: customers.CustomerShared, tx: Transaction, envelope: Envelope) -> None:
    person = UUID(event.with_person_id)
    if person != envelope.person_id and not _stale(envelope):
        wording = "shared" if envelope.person_name else "shared by itself"
        news = News(ASSIGNED, wording, "customer", envelope.record_id, event.customer.display_name)
        await tell(tx, envelope.event_id, person, news)


@SUBSCRIPTIONS.on(customers.CustomerUnshared, when=lambda event: bool(event.with_person_id))
async def unshared(event: customers.CustomerUnshared, tx: Transaction, envelope: Envelope) -> None:
    await withdraw(tx, "customer", envelope.record_id, UUID(event.with_person_id))


# ---- deleted, and come back

_GONE: Mapping[type[Message], str] = {
    leads.LeadDeleted: "lead", customers.CustomerDeleted: "customer", customers.ContactDeleted: "contact",
    customers.CompetitorDeleted: "competitor", customers.SegmentDeleted: "segment", sales.OpportunityDeleted: "opportunity",
    sales.OrderDeleted: "order", sales.ProductDeleted: "product", marketing.CampaignDeleted: "campaign",
    servicedesk.TicketDeleted: "ticket",
}  # fmt: skip
_BACK: Mapping[type[Message], str] = {
    customers.CustomerRestored: "customer", customers.ContactRestored: "contact",
}  # fmt: skip


def _hear_gone(kind: type[Message], record_type: str, *, hidden: bool) -> None:
    @SUBSCRIPTIONS.on(kind)
    async def gone(event: Any, tx: Transaction, envelope: Envelope) -> None:
        await hide(tx, record_type, envelope.record_id, hidden=hidden)


for _deleted, _type in _GONE.items():
    _hear_gone(_deleted, _type, hidden=True)
for _restored, _type in _BACK.items():
    _hear_gone(_restored, _type, hidden=False)


# ---- mentioned


def _names_people(event: Any) -> bool:
    return bool(event.mentioned_ids)


async def mentioned(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """A note names people. The record's name is not told: whether they may read it is decided where they read it."""
    if _stale(envelope):
        return
    wording = "mentioned" if envelope.person_name else "mentioned by itself"
    for id in sorted(set(event.mentioned_ids) - {str(envelope.person_id)}):
        news = News(MENTIONED, wording, event.record_type, UUID(event.record_id))
        await tell(tx, envelope.event_id, UUID(id), news)


def _mentioning() -> Iterator[type[Message]]:
    """The events of all services that mention people, whatever they are about: those with `mentioned_ids`."""
    for module in contracts.module_names():
        if module.endswith(".events_pb2"):
            file: Any = importlib.import_module(module).DESCRIPTOR
            for described in file.message_types_by_name.values():
                if {"mentioned_ids", "record_type", "record_id"} <= set(described.fields_by_name):
                    yield GetMessageClass(described)


for _mention in _mentioning():
    SUBSCRIPTIONS.on(_mention, when=_names_people)(mentioned)


# ---- due, come again, and on the way to the pool


@SUBSCRIPTIONS.on(leads.LeadContactDue, when=lambda event: bool(event.owner_id))
async def contact_due(event: leads.LeadContactDue, tx: Transaction, envelope: Envelope) -> None:
    if not _stale(envelope):
        due = _time(event.lead.next_contact_time)
        news = News(DUE, "contact due", "lead", envelope.record_id, _lead_name(event), due)
        await tell(tx, envelope.event_id, UUID(event.owner_id), news)


_CLOSED = {
    lead_pb2.LEAD_STATUS_DISQUALIFIED: "came again closed",
    lead_pb2.LEAD_STATUS_CONVERTED: "came again converted",
    lead_pb2.LEAD_STATUS_CONVERTING: "came again converted",
}
"""What is told of those whom nobody is at work with any more."""


@SUBSCRIPTIONS.on(leads.LeadCaptured, when=lambda event: event.repeated and bool(event.owner_id))
async def came_again(event: leads.LeadCaptured, tx: Transaction, envelope: Envelope) -> None:
    owner = UUID(event.owner_id)
    if owner != envelope.person_id and not _stale(envelope):
        wording = _CLOSED.get(event.lead.status, "came again")
        news = News(
            CAME_AGAIN, wording, "lead", envelope.record_id, _lead_name(event), many="came again many"
        )
        await tell(tx, envelope.event_id, owner, news)


@SUBSCRIPTIONS.on(leads.LeadReclaimWarned, when=lambda event: bool(event.owner_id))
async def reclaim_warned(event: leads.LeadReclaimWarned, tx: Transaction, envelope: Envelope) -> None:
    if not _stale(envelope):
        news = News(
            POOL, "returning", "lead", envelope.record_id, _lead_name(event), _time(event.reclaim_time)
        )
        await tell(tx, envelope.event_id, UUID(event.owner_id), news)


@SUBSCRIPTIONS.on(leads.LeadReclaimed, when=lambda event: bool(event.previous_owner_id))
async def reclaimed(event: leads.LeadReclaimed, tx: Transaction, envelope: Envelope) -> None:
    if not _stale(envelope):
        news = News(POOL, "returned", "lead", envelope.record_id, _lead_name(event), many="returned many")
        await tell(tx, envelope.event_id, UUID(event.previous_owner_id), news)


@SUBSCRIPTIONS.on(customers.CustomerReturnWarned, when=_owned)
async def return_warned(event: customers.CustomerReturnWarned, tx: Transaction, envelope: Envelope) -> None:
    if not _stale(envelope):
        news = News(
            POOL,
            "returning",
            "customer",
            envelope.record_id,
            event.customer.display_name,
            _time(event.return_time),
        )
        await tell(tx, envelope.event_id, UUID(event.owner_id), news)


@SUBSCRIPTIONS.on(customers.CustomerReturned, when=lambda event: bool(event.previous_owner_id))
async def returned(event: customers.CustomerReturned, tx: Transaction, envelope: Envelope) -> None:
    """Whoever put it there themselves knows."""
    owner = UUID(event.previous_owner_id)
    if not _stale(envelope) and (event.idle or owner != envelope.person_id):
        name = event.customer.display_name
        news = News(POOL, "returned", "customer", envelope.record_id, name, many="returned many")
        await tell(tx, envelope.event_id, owner, news)


async def activity_told(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """What became of an activity; one that another has planned for somebody is told at once, too."""
    if isinstance(event, sales.ActivityPlanned):
        await _assigned(tx, envelope, UUID(event.owner_id), "activity", event.activity.subject)
    if isinstance(event, sales.ActivityUpdated) and "subject" in event.changed_fields:
        await rename(tx, "activity", envelope.record_id, event.activity.subject, _owner(event))
    if isinstance(event, sales.ActivityDeleted):
        await hide(tx, "activity", envelope.record_id, hidden=True)
    planned = event.activity.status == activity_pb2.ACTIVITY_STATUS_PLANNED
    deleted = isinstance(event, sales.ActivityDeleted)
    due = _time(event.activity.due_time)
    if due is not None:
        told = Planned(
            envelope.record_id, envelope.version, UUID(event.owner_id), event.activity.subject, due,
            waiting=planned and not deleted,
            about_ids=tuple(
                UUID(id) for id in (event.activity.customer_id, event.activity.contact_id, event.activity.lead_id) if id
            ),
        )  # fmt: skip
        await hear(tx, told, envelope.time)


for _event in (
    sales.ActivityPlanned, sales.ActivityUpdated, sales.ActivityCompleted, sales.ActivityCancelled, sales.ActivityDeleted,
):  # fmt: skip
    SUBSCRIPTIONS.on(_event, when=_owned)(activity_told)


# ---- how people are told


async def person_told(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """A person's language and time zone."""
    told = Locale(event.person.language_code, event.person.time_zone)
    await keep_locale(tx, envelope.record_id, told, envelope.version, envelope.event_id)


async def tenant_told(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """The company's language and time zone."""
    told = Locale(event.language_code, event.time_zone)
    await keep_locale(tx, envelope.record_id, told, envelope.version, envelope.event_id)


for _person in (identity.PersonCreated, identity.PersonUpdated):
    SUBSCRIPTIONS.on(_person)(person_told)
for _tenant in (identity.TenantCreated, identity.TenantUpdated):
    SUBSCRIPTIONS.on(_tenant)(tenant_told)


hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
hear_purges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS, customer=forget, contact=forget)
