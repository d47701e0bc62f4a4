"""For tests: a bus on which to tell the service what has happened elsewhere, and the events of others in short."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.analytics.v1 import report_service_pb2 as pb
from kehu.leads.v1 import events_pb2 as leads
from kehu.leads.v1 import lead_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.sales.v1 import opportunity_pb2, order_pb2
from kehu.servicedesk.v1 import events_pb2 as servicedesk
from kehu.servicedesk.v1 import ticket_pb2
from nats.js import JetStreamContext

from chassis import money as exact
from chassis import wire
from chassis.events.event import subject_of
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.testing import Harness, eventually, somebody

M = TypeVar("M", bound=Message)
MARCH = datetime(2026, 3, 5, 12, tzinfo=UTC)


@dataclass
class House:
    """Analytics and the bus."""

    service: Harness
    bus: JetStreamContext

    async def tell(
        self,
        who: Principal,
        event: Message,
        id: str,
        version: int = 1,
        *,
        event_id: UUID | None = None,
        data: bytes | None = None,
        at: datetime = MARCH,
    ) -> UUID:
        """Publishes an event as the service it belongs to would. Returns its id."""
        kind = type(event)
        domain = kind.DESCRIPTOR.full_name.split(".")[1]
        event_id = event_id or new_id()
        headers = {
            "ce-id": str(event_id),
            "ce-type": kind.DESCRIPTOR.full_name,
            "ce-source": domain,
            "ce-subject": id,
            "ce-time": at.isoformat(),
            "ce-tenant": who.tenant,
            "ce-tenantid": str(who.tenant_id),
            "kehu-version": str(version),
        }
        subject = f"kehu.{who.tenant}.{domain}.{subject_of(kind)[0]}"
        await self.bus.publish(subject, wire.to_json(event) if data is None else data, headers=headers)
        return event_id

    async def caught_up(self, who: Principal) -> pb.Freshness:
        """Waits until everything told is counted in."""
        freshness = pb.Freshness()

        async def reached() -> bool:
            nonlocal freshness
            freshness = await self.ask(who, "GetFreshness", pb.GetFreshnessRequest(), pb.Freshness)
            return freshness.caught_up

        await eventually(reached, 40)
        return freshness

    async def ask(self, who: Principal, method: str, request: Message, answer: type[M]) -> M:
        """Calls a method of the service."""
        return await self.service.ask(who, f"kehu.analytics.v1.ReportService/{method}", request, answer)

    async def reports(self, who: Principal) -> Sequence[Message]:
        """All five reports over all that there is."""
        return [
            await self.ask(who, "GetLeadsBySource", pb.GetLeadsBySourceRequest(), pb.LeadsBySource),
            await self.ask(who, "GetPipelineFunnel", pb.GetPipelineFunnelRequest(), pb.PipelineFunnel),
            await self.ask(
                who,
                "GetSalesByPersonAndMonth",
                pb.GetSalesByPersonAndMonthRequest(),
                pb.SalesByPersonAndMonth,
            ),
            await self.ask(who, "GetOrdersByProduct", pb.GetOrdersByProductRequest(), pb.OrdersByProduct),
            await self.ask(
                who,
                "GetTicketsByStatusAndAge",
                pb.GetTicketsByStatusAndAgeRequest(),
                pb.TicketsByStatusAndAge,
            ),
        ]


def boss_of_a_new_tenant() -> Principal:
    """Somebody who may do everything in a tenant that no other test knows."""
    return somebody(f"t-{uuid4().hex[:12]}")


def moment(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def day(value: date) -> Date:
    return Date(year=value.year, month=value.month, day=value.day)


def cents(minor: int, currency: str = "CNY") -> Money:
    value = exact.Money(minor, currency)
    return Money(currency_code=currency, units=value.units, nanos=value.nanos)


def lead(
    status: lead_pb2.LeadStatus.ValueType,
    source: lead_pb2.LeadSource.ValueType = lead_pb2.LEAD_SOURCE_WEB_FORM,
    *,
    at: datetime = MARCH,
    contacted: bool = False,
    qualified: bool = False,
    campaign_id: str = "",
    **more: Any,
) -> leads.LeadSnapshot:
    return leads.LeadSnapshot(
        name="Wang",
        source=source,
        status=status,
        create_time=moment(at),
        first_contact_time=moment(at) if contacted else None,
        qualify_time=moment(at) if qualified else None,
        campaign_id=campaign_id,
        **more,
    )


def opportunity(
    status: opportunity_pb2.OpportunityStatus.ValueType,
    money: Money | None,
    *,
    stage: tuple[str, str, int],
    probability: int = 0,
    closed: date | None = None,
    lead_id: str = "",
    engaged: date = date(2026, 3, 1),
) -> sales.OpportunitySnapshot:
    return sales.OpportunitySnapshot(
        name="Deal",
        amount=money,
        stage_id=stage[0],
        stage_name=stage[1],
        stage_position=stage[2],
        probability=probability,
        status=status,
        engage_date=day(engaged),
        close_date=day(closed) if closed else None,
        origin_lead_id=lead_id,
    )


def line(
    product_id: str,
    name: str,
    quantity: str,
    minor: int,
    tax: int,
    currency: str = "CNY",
    delivered: str = "0",
) -> order_pb2.OrderLine:
    return order_pb2.OrderLine(
        product_id=product_id,
        product_name=name,
        product_sku=f"SKU {name}",
        quantity=quantity,
        amount=cents(minor, currency),
        tax=cents(tax, currency),
        delivered_quantity=delivered,
    )


def order(
    status: order_pb2.OrderStatus.ValueType,
    lines: Sequence[order_pb2.OrderLine],
    *,
    on: date = date(2026, 3, 9),
    currency: str = "CNY",
    customer_id: str = "",
) -> sales.OrderSnapshot:
    def minor(value: Money) -> int:
        return exact.from_units(value.units, value.nanos, value.currency_code, "").minor

    subtotal = sum(minor(one.amount) for one in lines)
    tax = sum(minor(one.tax) for one in lines)
    return sales.OrderSnapshot(
        number="SO-2026-000001",
        customer_id=customer_id,
        order_date=day(on),
        currency_code=currency,
        lines=lines,
        subtotal=cents(subtotal, currency),
        tax_total=cents(tax, currency),
        total=cents(subtotal + tax, currency),
        status=status,
    )


def ticket(
    status: ticket_pb2.TicketStatus.ValueType,
    opened: datetime,
    *,
    responded: datetime | None = None,
    resolved: datetime | None = None,
    closed: datetime | None = None,
    priority: ticket_pb2.TicketPriority.ValueType = ticket_pb2.TICKET_PRIORITY_NORMAL,
) -> servicedesk.TicketSnapshot:
    return servicedesk.TicketSnapshot(
        number="T-2026-000001",
        status=status,
        priority=priority,
        create_time=moment(opened),
        first_response_time=moment(responded) if responded else None,
        resolve_time=moment(resolved) if resolved else None,
        close_time=moment(closed) if closed else None,
    )


def owned(person: UUID, team: UUID | None = None) -> dict[str, str]:
    """The fields that say who answers for a record."""
    return {"owner_id": str(person), "team_id": str(team or "")}
