"""Activities: what people do for a customer, lead or opportunity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ColumnElement, select, text
from sqlmodel import col

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.owners import Owner
from chassis.papers import drop_papers
from chassis.records import Customized, Owned
from chassis.search import Searchable
from sales.errors import ActivityNotPlanned
from sales.opportunity import check_customer

PLANNED, COMPLETED, CANCELLED = "PLANNED", "COMPLETED", "CANCELLED"
STATUSES = (PLANNED, COMPLETED, CANCELLED)
KINDS = ("VISIT", "CALL", "EMAIL", "SMS", "MEETING", "TASK")
_CHANGEABLE_WHEN_ENDED = frozenset({"description", "location", "external_key", "custom_fields"})


class Activity(Owned, Searchable, Customized, table=True):
    """A visit, call, message, meeting or task, planned or done."""

    __tablename__ = "activities"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "activity"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"customer_by_lead"})

    kind: str
    subject: str
    description: str = ""
    status: str = PLANNED
    due_time: datetime
    duration_minutes: int = 0
    location: str = ""
    external_key: str = ""
    customer_id: UUID | None = None
    customer_name: str = ""
    customer_by_lead: bool = False
    """Whether its lead has become, or was attached to, the customer: nobody has named it here."""
    contact_id: UUID | None = None
    lead_id: UUID | None = None
    opportunity_id: UUID | None = None
    complete_time: datetime | None = None
    result: str = ""
    cancel_reason: str = ""

    def findable(self) -> None:
        """Keeps the words for searching true to the subject and the customer's name."""
        self.find_by(names=[self.subject, self.customer_name])

    def need_planned(self) -> None:
        """Raises ActivityNotPlanned."""
        if self.status != PLANNED:
            raise ActivityNotPlanned(self.status)


@dataclass(frozen=True, kw_only=True)
class ActivitySnapshot:
    kind: str
    subject: str
    status: str
    due_time: datetime
    complete_time: datetime | None
    customer_id: UUID | None
    contact_id: UUID | None
    lead_id: UUID | None
    opportunity_id: UUID | None
    create_time: datetime
    duration_minutes: int
    custom_fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ActivityEvent(Event):
    """What every event says of an activity."""

    activity_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    activity: ActivitySnapshot


class ActivityPlanned(ActivityEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class ActivityUpdated(ActivityEvent):
    changed_fields: list[str]


class ActivityCompleted(ActivityEvent):
    pass


class ActivityCancelled(ActivityEvent):
    pass


class ActivityDeleted(ActivityEvent):
    pass


def told(activity: Activity) -> dict[str, Any]:
    """What every event says of an activity."""
    it = activity
    return {
        "activity_id": it.id,
        "owner_id": it.owner_id,
        "team_id": it.team_id,
        "activity": ActivitySnapshot(
            kind=it.kind, subject=it.subject, status=it.status, due_time=it.due_time, complete_time=it.complete_time,
            customer_id=it.customer_id, contact_id=it.contact_id, lead_id=it.lead_id, opportunity_id=it.opportunity_id,
            create_time=it.created_at, duration_minutes=it.duration_minutes, custom_fields=dict(it.custom_fields),
        ),
    }  # fmt: skip


_NEXT = text(
    "UPDATE opportunities SET next_activity_time = (SELECT min(due_time) FROM activities WHERE opportunity_id = :id"
    " AND status = 'PLANNED' AND deleted_at IS NULL) WHERE id = :id"
)


async def keep_next(tx: Transaction, *opportunity_ids: UUID | None) -> None:
    """Lets opportunities show when their next activity is due."""
    await tx.session.flush()
    for id in sorted({id for id in opportunity_ids if id is not None}):
        await tx.session.execute(_NEXT, {"id": id})


async def plan(
    tx: Transaction, values: Mapping[str, Any], customer_name: str, owner: Owner, id: UUID | None
) -> Activity:
    """A new planned activity of that owner. Raises Invalid for custom fields that are wrong."""
    columns: dict[str, Any] = {
        **await taken(tx, Activity.record_type, values), "id": id or new_id(), "owner_id": owner.person_id,
        "team_id": owner.team_id, "customer_name": customer_name,
    }  # fmt: skip
    activity = Activity(**columns)
    activity.findable()
    tx.add(activity)
    tx.record(ActivityPlanned(**told(activity)), on=activity)
    await keep_next(tx, activity.opportunity_id)
    return activity


async def change_activity(
    tx: Transaction, activity: Activity, values: Mapping[str, Any], customer_name: str | None
) -> None:
    """Changes fields. Raises ActivityNotPlanned; Invalid for custom fields that are wrong."""
    values = await taken(tx, activity.record_type, values, activity.custom_fields)
    columns = {name: value for name, value in values.items() if getattr(activity, name) != value}
    if activity.status != PLANNED and columns.keys() - _CHANGEABLE_WHEN_ENDED:
        raise ActivityNotPlanned(activity.status)
    if "customer_id" in columns and customer_name is not None:
        columns["customer_name"] = customer_name
    if "customer_id" in columns:
        columns["customer_by_lead"] = False
    before = activity.opportunity_id
    changed = [name for name in change(activity, columns) if name != "customer_by_lead"]
    if not changed:
        return
    if activity.opportunity_id is not None and not {"opportunity_id", "customer_id"}.isdisjoint(changed):
        await check_customer(tx, activity.opportunity_id, activity.customer_id, "activity.customerId")
    activity.findable()
    tx.record(ActivityUpdated(**told(activity), changed_fields=changed), on=activity)
    await keep_next(tx, before, activity.opportunity_id)


def assign_activity(tx: Transaction, activity: Activity, owner: Owner) -> None:
    """Gives it to another owner; the present one changes nothing. Raises ActivityNotPlanned."""
    activity.need_planned()
    if activity.owner_id == owner.person_id:
        return
    activity.owner_id, activity.team_id = owner.person_id, owner.team_id
    tx.record(ActivityUpdated(**told(activity), changed_fields=["owner_id", "team_id"]), on=activity)


async def complete(
    tx: Transaction, activity: Activity, result: str, at: datetime | None, minutes: int
) -> None:
    """It was done. Raises ActivityNotPlanned; Invalid for a time that is yet to come."""
    activity.need_planned()
    if at is not None and at > tx.now:
        raise Invalid("completeTime", "is yet to come")
    activity.status = COMPLETED
    activity.complete_time = at or tx.now
    activity.result = result
    activity.duration_minutes = minutes or activity.duration_minutes
    tx.record(ActivityCompleted(**told(activity)), on=activity)
    await keep_next(tx, activity.opportunity_id)


def bring_in(
    tx: Transaction, columns: Mapping[str, Any], customer_name: str | None, owner: Owner
) -> Activity:
    """An activity of another system as it stands there: planned, completed or cancelled, which is all that is told of it. Without
    a kind it is a task. Whoever calls sees to it that its opportunity shows its next one."""
    values: dict[str, Any] = {
        "kind": "TASK", **columns, "id": new_id(), "owner_id": owner.person_id, "team_id": owner.team_id,
        "customer_name": customer_name or "",
    }  # fmt: skip
    activity = Activity(**values)
    activity.findable()
    tx.add(activity)
    tx.record(_BROUGHT_IN[activity.status](**told(activity)), on=activity)
    return activity


_BROUGHT_IN: Mapping[str, type[ActivityEvent]] = {
    PLANNED: ActivityPlanned, COMPLETED: ActivityCompleted, CANCELLED: ActivityCancelled,
}  # fmt: skip


async def cancel(tx: Transaction, activity: Activity, reason: str) -> None:
    """It will not be done. Raises ActivityNotPlanned."""
    activity.need_planned()
    activity.status = CANCELLED
    activity.cancel_reason = reason
    tx.record(ActivityCancelled(**told(activity)), on=activity)
    await keep_next(tx, activity.opportunity_id)


async def drop_activity(tx: Transaction, activity: Activity) -> None:
    """Deletes it with what is on it."""
    await drop_papers(tx, activity.record_type, [activity.id])
    tx.delete(activity)
    tx.record(ActivityDeleted(**told(activity)), on=activity)
    await keep_next(tx, activity.opportunity_id)


async def follow_lead(tx: Transaction, lead_id: UUID, customer_id: UUID, customer_name: str) -> int:
    """The lead has become a customer, or is known to be one: its activities concern the customer, too. How many there are."""
    found = await _of_lead(tx, lead_id, col(Activity.customer_id).is_(None))
    for activity in found:
        _concern(tx, activity, customer_id, customer_name, by_lead=True)
    return len(found)


async def leave_customer(tx: Transaction, lead_id: UUID) -> None:
    """The lead is not the customer after all: its activities no longer concern the customer that they had by it."""
    lost = (col(Activity.customer_by_lead).is_(True), col(Activity.opportunity_id).is_(None))
    for activity in await _of_lead(tx, lead_id, *lost):
        _concern(tx, activity, None, "", by_lead=False)


async def _of_lead(tx: Transaction, lead_id: UUID, *such: ColumnElement[bool]) -> Sequence[Activity]:
    found = await tx.session.execute(
        select(Activity)
        .where(col(Activity.lead_id) == lead_id, col(Activity.deleted_at).is_(None), *such)
        .order_by(col(Activity.id))
        .with_for_update()
    )
    return found.scalars().all()


def _concern(
    tx: Transaction, activity: Activity, customer_id: UUID | None, name: str, *, by_lead: bool
) -> None:
    activity.customer_id, activity.customer_name, activity.customer_by_lead = customer_id, name, by_lead
    activity.findable()
    tx.record(ActivityUpdated(**told(activity), changed_fields=["customer_id"]), on=activity)
