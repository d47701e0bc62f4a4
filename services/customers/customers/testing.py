"""For tests: a company with customers and cards, and orders and opportunities as sales would tell them."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from google.protobuf.message import Message
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.customers.v1 import (
    customer_pb2,
    customer_service_pb2,
    membership_pb2,
    membership_service_pb2,
    points_pb2,
    points_service_pb2,
)
from kehu.history.v1 import history_pb2
from kehu.identity.v1 import person_pb2, person_service_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.sales.v1 import opportunity_pb2, order_pb2
from kehu.servicedesk.v1 import events_pb2 as servicedesk

from chassis.events.subscriptions import Arrival, take_in
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.testing import Harness, arriving, somebody
from customers.listens import SUBSCRIPTIONS
from customers.points.audit import faults
from customers.service import SERVICE

MEMBERSHIP = "kehu.customers.v1.MembershipService/"
POINTS = "kehu.customers.v1.PointsService/"
CUSTOMERS = "kehu.customers.v1.CustomerService/"
PRODUCT = str(uuid4())

COLLEAGUE = person_service_pb2.PersonCard(
    id=str(new_id()), display_name="李雷", email="li@own.example", status=person_pb2.PERSON_STATUS_ACTIVE
)


def look_up_people(asked: Any) -> person_service_pb2.LookUpPeopleResponse:
    """Whoever is asked for by id; by name or e-mail address there is one."""
    known = [
        COLLEAGUE if id == COLLEAGUE.id
        else person_service_pb2.PersonCard(id=id, email=f"{id}@own.example", status=person_pb2.PERSON_STATUS_ACTIVE)
        for id in asked.ids
    ]  # fmt: skip
    if COLLEAGUE.display_name in asked.names or COLLEAGUE.email in asked.emails:
        known.append(COLLEAGUE)
    return person_service_pb2.LookUpPeopleResponse(people=known)


def day(value: date) -> Date:
    return Date(year=value.year, month=value.month, day=value.day)


def yuan(minor: int, currency: str = "CNY") -> Money:
    return Money(currency_code=currency, units=minor // 100, nanos=minor % 100 * 10_000_000)


@dataclass
class Company:
    """A tenant with somebody in it who may do everything."""

    service: Harness
    who: Principal = field(default_factory=lambda: somebody(f"c{uuid4().hex[:12]}"))

    async def customer(self, name: str = "客户") -> str:
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer_pb2.Customer(display_name=name)
        )
        made = await self.service.ask(self.who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer)
        return made.id

    async def programme(self, **values: Any) -> membership_pb2.MembershipProgramme:
        """Enables a programme: a point for each yuan unless told otherwise, at placing."""
        told: dict[str, Any] = {
            "enabled": True, "earn_moment": membership_pb2.EARN_MOMENT_AT_PLACING,
            "rules": [membership_pb2.EarningRule(points=1, per_amount=yuan(100))],
        } | values  # fmt: skip
        request = membership_service_pb2.UpdateMembershipProgrammeRequest(
            programme=membership_pb2.MembershipProgramme(**told)
        )
        request.update_mask.paths.extend(told)
        return await self.service.ask(
            self.who, MEMBERSHIP + "UpdateMembershipProgramme", request, membership_pb2.MembershipProgramme
        )

    async def issue(self, customer_id: str, **values: Any) -> membership_pb2.MembershipCard:
        request = membership_service_pb2.CreateMembershipCardRequest(
            card=membership_pb2.MembershipCard(customer_id=customer_id, **values)
        )
        return await self.service.ask(
            self.who, MEMBERSHIP + "CreateMembershipCard", request, membership_pb2.MembershipCard
        )

    async def card(self, id: str) -> membership_pb2.MembershipCard:
        request = membership_service_pb2.GetMembershipCardRequest(id=id)
        return await self.service.ask(
            self.who, MEMBERSHIP + "GetMembershipCard", request, membership_pb2.MembershipCard
        )

    async def verb(self, name: str, id: str, **values: Any) -> membership_pb2.MembershipCard:
        request: Message = getattr(membership_service_pb2, f"{name}MembershipCardRequest")(id=id, **values)
        return await self.service.ask(
            self.who, f"{MEMBERSHIP}{name}MembershipCard", request, membership_pb2.MembershipCard
        )

    async def redeem(
        self, card: str, points: int, request_id: str = "", who: Principal | None = None, order_id: str = ""
    ) -> points_pb2.PointsTransaction:
        request = points_service_pb2.RedeemPointsRequest(
            id=card, points=points, request_id=request_id or uuid4().hex, order_id=order_id
        )
        return await self.service.ask(
            who or self.who, POINTS + "RedeemPoints", request, points_pb2.PointsTransaction
        )

    async def adjust(
        self, card: str, points: int, request_id: str = "", who: Principal | None = None
    ) -> points_pb2.PointsTransaction:
        request = points_service_pb2.AdjustPointsRequest(
            id=card, points=points, request_id=request_id or uuid4().hex, reason="by hand"
        )
        return await self.service.ask(
            who or self.who, POINTS + "AdjustPoints", request, points_pb2.PointsTransaction
        )

    async def ledger(self, card: str) -> list[points_pb2.PointsTransaction]:
        """The postings of the card, the oldest first, read in pages of three."""
        found: list[points_pb2.PointsTransaction] = []
        token = ""
        while True:
            page = await self.service.ask(
                self.who, POINTS + "ListPointsTransactions",
                points_service_pb2.ListPointsTransactionsRequest(card_id=card, page_size=3, page_token=token),
                points_service_pb2.ListPointsTransactionsResponse,
            )  # fmt: skip
            found += page.transactions
            token = page.next_page_token
            if not token:
                return found[::-1]

    async def lots(self, card: str) -> list[points_pb2.PointsLot]:
        found: list[points_pb2.PointsLot] = []
        token = ""
        while True:
            page = await self.service.ask(
                self.who, POINTS + "ListPointsLots",
                points_service_pb2.ListPointsLotsRequest(card_id=card, page_size=2, page_token=token),
                points_service_pb2.ListPointsLotsResponse,
            )  # fmt: skip
            found += page.lots
            token = page.next_page_token
            if not token:
                return found

    def heard(
        self, event: Any, version: int = 1, *, at: datetime | None = None, event_id: UUID | None = None
    ) -> Arrival:
        """The event as it arrives from the bus."""
        return arriving(SUBSCRIPTIONS, event, self.who, version=version, at=at, event_id=event_id)

    async def hear(
        self, event: Any, version: int = 1, *, at: datetime | None = None, event_id: UUID | None = None
    ) -> int:
        """Lets the event take effect, as the consumer does. How many had not had theirs before."""
        arrival = self.heard(event, version, at=at, event_id=event_id)
        return await take_in(self.service.running.database, "customers", [arrival])

    async def job(self, kind: str) -> None:
        """Runs that job of the company once, as the service does when it is due."""
        call = self.service.running.call(self.who.acting_as("customers"))
        await SERVICE.jobs[kind]({}, call)

    async def history(
        self, record_type: str, id: str, who: Principal | None = None
    ) -> list[history_pb2.Change]:
        """What became of a record, the latest first, as its history tells it."""
        request = history_pb2.ListChangesRequest(record_type=record_type, record_id=id)
        found = await self.service.ask(
            who or self.who,
            "kehu.customers.v1.HistoryService/ListChanges",
            request,
            history_pb2.ListChangesResponse,
        )
        return list(found.changes)

    async def told(self, id: str) -> list[str]:
        """The events of a record, the oldest first, without their package."""
        rows = await self.service.running.database.read(
            self.who, "SELECT type FROM outbox WHERE record_id = $1 ORDER BY seq", UUID(id)
        )
        return [row["type"].removeprefix("kehu.customers.v1.") for row in rows]

    async def sound(self) -> None:
        """Asserts that the ledger has no fault."""
        assert await faults(self.service.running.database, self.who) == []


def order_event(
    kind: str, customer_id: str, order_id: str, minor: int, *, status: str = "", currency: str = "CNY",
    ordered: date | None = None, lines: list[tuple[str, int]] | None = None, received: int = 0,
    placed: datetime | None = None, delivered: datetime | None = None, costed: tuple[int, int] | None = None,
) -> Any:  # fmt: skip
    """OrderPlaced, OrderDelivered, OrderReceiptRecorded or OrderCancelled of an order of that amount, without tax, of which so
    much was received, with the times at which it was placed and delivered. `costed` is how much of it was sold at a known
    cost, and that cost."""
    states = {"OrderDelivered": "DELIVERED", "OrderCancelled": "CANCELLED"}
    state = status or states.get(kind, "PLACED")
    snapshot = sales.OrderSnapshot(
        number=f"SO-{order_id[:8]}", customer_id=customer_id, currency_code=currency,
        order_date=day(ordered or datetime.now(UTC).date()), status=order_pb2.OrderStatus.Value(f"ORDER_STATUS_{state}"),
        subtotal=yuan(minor, currency), tax_total=yuan(0, currency), total=yuan(minor, currency),
        received_total=yuan(received, currency), lines=[
            order_pb2.OrderLine(id=str(uuid4()), product_id=product, amount=yuan(part, currency), tax=yuan(0, currency))
            for product, part in (lines or [(PRODUCT, minor)])
        ],
    )  # fmt: skip
    for name, at in (("place_time", placed), ("deliver_time", delivered)):
        if at is not None:
            getattr(snapshot, name).FromDatetime(at)
    if costed is not None:
        snapshot.costed_subtotal.CopyFrom(yuan(costed[0], currency))
        snapshot.cost_total.CopyFrom(yuan(costed[1], currency))
    event = getattr(sales, kind)(order_id=order_id, order=snapshot)
    if kind == "OrderUpdated":
        event.changed_fields.append("customerId")
    return event


def opportunity_event(
    kind: str, customer_id: str, opportunity_id: str, minor: int, probability: int, status: str = "OPEN"
) -> Any:
    """An event of an opportunity."""
    snapshot = sales.OpportunitySnapshot(
        customer_id=customer_id, amount=yuan(minor), probability=probability,
        status=opportunity_pb2.OpportunityStatus.Value(f"OPPORTUNITY_STATUS_{status}"),
    )  # fmt: skip
    return getattr(sales, kind)(opportunity_id=opportunity_id, opportunity=snapshot)


def ticket_event(kind: str, customer_id: str, ticket_id: str, rating: int, rated: datetime) -> Any:
    """An event of a ticket that was rated then."""
    snapshot = servicedesk.TicketSnapshot(customer_id=customer_id, rating=rating)
    snapshot.rate_time.FromDatetime(rated)
    event = getattr(servicedesk, kind)(ticket_id=ticket_id, ticket=snapshot)
    if kind == "TicketUpdated":
        event.changed_fields.append("customerId")
    return event
