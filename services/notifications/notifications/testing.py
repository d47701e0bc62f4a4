"""For tests: people with inboxes, and what happens elsewhere as the bus would tell it."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from kehu.leads.v1 import events_pb2 as leads
from kehu.notifications.v1 import notification_pb2 as pb
from kehu.notifications.v1 import notification_service_pb2 as service_pb
from kehu.sales.v1 import activity_pb2
from kehu.sales.v1 import events_pb2 as sales

from chassis.events.subscriptions import take_in
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.testing import Harness, arriving, somebody
from notifications.listens import SUBSCRIPTIONS
from notifications.service import SERVICE

SERVICE_NAME = "kehu.notifications.v1.NotificationService/"


def stamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at.astimezone(UTC))
    return made


@dataclass
class Office:
    """A tenant with two people in it: `boss` may do everything, `ann` nothing at all but have an inbox."""

    service: Harness
    boss: Principal = field(default_factory=lambda: somebody(f"n{uuid4().hex[:12]}", name="王经理"))
    ann: Principal = field(init=False)

    def __post_init__(self) -> None:
        self.ann = replace(self.boss, person_id=new_id(), name="Ann", rights={})

    async def hear(
        self, event: Any, id: UUID | None = None, version: int = 1, *, by: Principal | None = None,
        event_id: UUID | None = None, at: datetime | None = None,
    ) -> UUID:  # fmt: skip
        """Lets an event take effect as the consumer does; the boss caused it unless told otherwise. Its id."""
        told = arriving(
            SUBSCRIPTIONS, event, by or self.boss, record_id=id, version=version, at=at, event_id=event_id
        )
        if told.listener.concerns(event):
            await take_in(self.service.running.database, "notifications", [told])
        return told.envelope.event_id

    async def ask(self, who: Principal | None, method: str, request: Any, answer: Any) -> Any:
        """`MarkRead` of the service."""
        return await self.service.ask(who, SERVICE_NAME + method, request, answer)

    async def inbox(self, who: Principal, **asked: Any) -> list[pb.Notification]:
        """The first page of somebody's notifications."""
        request = service_pb.ListNotificationsRequest(**asked)
        page = await self.ask(who, "ListNotifications", request, service_pb.ListNotificationsResponse)
        return list(page.notifications)

    async def unread(self, who: Principal) -> int:
        """How many are unread."""
        request = service_pb.CountUnreadRequest()
        return (await self.ask(who, "CountUnread", request, service_pb.CountUnreadResponse)).unread_count

    async def verb(self, who: Principal, name: str, id: str, **values: Any) -> pb.Notification:
        """`MarkRead` of one notification."""
        request = getattr(service_pb, f"{name}Request")(id=id, **values)
        return await self.ask(who, name, request, pb.Notification)

    async def given(self, owner: Principal | None = None, name: str = "张三", **more: Any) -> UUID:
        """A lead is given to somebody, Ann unless told otherwise. The event's id."""
        lead = leads.LeadSnapshot(name=name)
        event = leads.LeadAssigned(owner_id=str((owner or self.ann).person_id), lead=lead)
        return await self.hear(event, **more)

    async def job(self, kind: str, payload: dict[str, Any]) -> None:
        """Runs that job once, as the service does when it is due."""
        call = self.service.running.call(self.boss.acting_as("notifications"))
        await SERVICE.jobs[kind](payload, call)

    async def events(self) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """What was published, or waits for it: the end of the subject, the headers and the data."""
        sql = "SELECT subject, headers, convert_from(data, 'UTF8')::jsonb AS data FROM outbox ORDER BY seq"
        rows = await self.service.running.database.read(self.boss, sql)
        return [(row["subject"].split(".", 2)[2], row["headers"], row["data"]) for row in rows]


def activity(
    kind: str, owner: Principal, due: datetime, status: str = "PLANNED", subject: str = "回访"
) -> Any:
    """ActivityPlanned, ActivityCompleted and so on."""
    snapshot = sales.ActivitySnapshot(
        subject=subject, due_time=stamp(due), status=activity_pb2.ActivityStatus.Value(f"ACTIVITY_STATUS_{status}")
    )  # fmt: skip
    return getattr(sales, f"Activity{kind}")(owner_id=str(owner.person_id), activity=snapshot)
