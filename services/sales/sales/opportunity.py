"""Opportunities: business that may be won."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Date, Uuid, text
from sqlmodel import Field

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.money import Money
from chassis.owners import Owner
from chassis.papers import drop_papers
from chassis.records import Customized, Owned
from chassis.search import Searchable
from sales.competition import Known, check_lost_to, check_named, name_competitors, with_winner
from sales.errors import OpportunityClosed, OpportunityHasOrders, OpportunityOpen, customer_mismatch
from sales.pipeline import Stage, position_of, rot_time, stages_for
from sales.product import sellable

OPEN, WON, LOST = "OPEN", "WON", "LOST"
STATUSES = (OPEN, WON, LOST)
REASONS = ("PRICE", "COMPETITOR", "NO_BUDGET", "NO_NEED", "TIMING", "FEATURES", "NO_DECISION", "OTHER")
_CHANGEABLE_WHEN_CLOSED = frozenset(
    {
        "contact_id", "competitor", "competitor_ids", "lost_to_competitor_id", "campaign_id", "notes", "external_key",
        "custom_fields",
    }
)  # fmt: skip
_LONGEST_NOTES = 10_000
_NOBODY: Known = {}


class Opportunity(Owned, Searchable, Customized, table=True):
    """Business with a customer. The names of customer, product and stage are kept along, so that lists need nobody else."""

    __tablename__ = "opportunities"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "opportunity"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"stage_position", "rot_time"})

    name: str
    customer_id: UUID
    customer_name: str = ""
    contact_id: UUID | None = None
    product_id: UUID | None = None
    product_name: str = ""
    amount: int | None = Field(default=None, sa_type=BigInteger)
    amount_currency: str = ""
    stage_id: UUID
    stage_name: str
    stage_position: int
    stage_enter_time: datetime
    rot_time: datetime | None = None
    probability: int = 0
    status: str = OPEN
    engage_date: date | None = Field(default=None, sa_type=Date)
    expected_close_date: date | None = Field(default=None, sa_type=Date)
    close_date: date | None = Field(default=None, sa_type=Date)
    loss_reason: str = ""
    close_note: str = ""
    competitor: str = ""
    competitor_ids: list[UUID] = Field(default_factory=list[UUID], sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    lost_to_competitor_id: UUID | None = None
    campaign_id: UUID | None = None
    origin_lead_id: UUID | None = None
    notes: str = ""
    external_key: str = ""
    assign_time: datetime | None = None
    next_activity_time: datetime | None = None

    def findable(self) -> None:
        """Keeps the words for searching true to its own and the customer's name."""
        self.find_by(names=[self.name, self.customer_name], texts=[self.external_key])

    def need_open(self) -> None:
        """Raises OpportunityClosed."""
        if self.status != OPEN:
            raise OpportunityClosed(self.status)

    def enter(self, stages: list[Stage], position: int, at: datetime, probability: int = 0) -> None:
        """Puts it in a stage, with the stage's probability unless another is given."""
        stage = stages[position]
        self.stage_id, self.stage_name, self.stage_position = stage.id, stage.name, position
        self.stage_enter_time = at
        self.rot_time = rot_time(stage, at)
        self.probability = probability or stage.probability

    def close(self, status: str, day: date, today: date, note: str) -> None:
        """Ends it as won or lost. Raises OpportunityClosed; Invalid for a day that is yet to come."""
        self.need_open()
        if day > today:
            raise Invalid("closeDate", "is yet to come")
        self.status = status
        self.close_date = day
        self.close_note = note
        self.probability = 100 if status == WON else 0


@dataclass(frozen=True, kw_only=True)
class OpportunitySnapshot:
    name: str
    customer_id: UUID
    contact_id: UUID | None
    product_id: UUID | None
    amount: Money | None
    stage_id: UUID
    stage_name: str
    stage_position: int
    probability: int
    status: str
    engage_date: date | None
    expected_close_date: date | None
    close_date: date | None
    loss_reason: str | None
    campaign_id: UUID | None
    origin_lead_id: UUID | None
    create_time: datetime
    stage_enter_time: datetime
    custom_fields: dict[str, Any]
    competitor_ids: list[UUID]
    lost_to_competitor_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class OpportunityEvent(Event):
    """What every event says of an opportunity."""

    opportunity_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    opportunity: OpportunitySnapshot


class OpportunityCreated(OpportunityEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class OpportunityUpdated(OpportunityEvent):
    changed_fields: list[str]


@dataclass(frozen=True, kw_only=True)
class OpportunityAssigned(OpportunityEvent):
    previous_owner_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class OpportunityStageChanged(OpportunityEvent):
    previous_stage_id: UUID
    previous_stage_name: str


class OpportunityWon(OpportunityEvent):
    pass


class OpportunityLost(OpportunityEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class OpportunityReopened(OpportunityEvent):
    previous_status: str


class OpportunityDeleted(OpportunityEvent):
    pass


def told(opportunity: Opportunity) -> dict[str, Any]:
    """What every event says of an opportunity."""
    it = opportunity
    return {
        "opportunity_id": it.id,
        "owner_id": it.owner_id,
        "team_id": it.team_id,
        "opportunity": OpportunitySnapshot(
            name=it.name, customer_id=it.customer_id, contact_id=it.contact_id, product_id=it.product_id,
            amount=None if it.amount is None else Money(it.amount, it.amount_currency), stage_id=it.stage_id,
            stage_name=it.stage_name, stage_position=it.stage_position + 1, probability=it.probability, status=it.status,
            engage_date=it.engage_date, expected_close_date=it.expected_close_date, close_date=it.close_date,
            loss_reason=it.loss_reason or None, campaign_id=it.campaign_id, origin_lead_id=it.origin_lead_id,
            create_time=it.created_at, stage_enter_time=it.stage_enter_time,
            custom_fields=dict(it.custom_fields), competitor_ids=list(it.competitor_ids),
            lost_to_competitor_id=it.lost_to_competitor_id,
        ),
    }  # fmt: skip


def _entered(
    tx: Transaction, values: Mapping[str, Any], owner: Owner, stages: list[Stage], id: UUID | None
) -> Opportunity:
    position = position_of(stages, values.get("stage_id"), "opportunity.stageId")
    stage = stages[position]
    columns: dict[str, Any] = {
        **values, "id": id or new_id(), "owner_id": owner.person_id, "team_id": owner.team_id, "assign_time": tx.now,
        "stage_id": stage.id, "stage_name": stage.name, "stage_position": position, "stage_enter_time": tx.now,
    }  # fmt: skip
    opportunity = Opportunity(**columns)
    opportunity.enter(stages, position, tx.now, values.get("probability", 0))
    return opportunity


def register(
    tx: Transaction, values: Mapping[str, Any], owner: Owner, stages: list[Stage], id: UUID | None = None
) -> Opportunity:
    """A new opportunity of that owner; `values` name a customer and a product that have been looked up.

    Values that close it (`status`, `close_date`) make it won or lost at once, as imports need it.
    Raises Invalid (STAGE_NOT_FOUND).
    """
    opportunity = _entered(tx, values, owner, stages, id)
    if opportunity.status != OPEN:
        opportunity.probability = 100 if opportunity.status == WON else 0
    opportunity.findable()
    tx.add(opportunity)
    tx.record(OpportunityCreated(**told(opportunity)), on=opportunity)
    if opportunity.status == WON:
        tx.record(OpportunityWon(**told(opportunity)), on=opportunity)
    elif opportunity.status == LOST:
        tx.record(OpportunityLost(**told(opportunity)), on=opportunity)
    return opportunity


async def _with_product(tx: Transaction, values: dict[str, Any]) -> None:
    if "product_id" in values:
        id = values["product_id"]
        values["product_name"] = (await sellable(tx, id, "opportunity.productId")).name if id else ""


async def create_opportunity(
    tx: Transaction,
    values: Mapping[str, Any],
    customer_name: str,
    owner: Owner,
    id: UUID | None,
    competitors: Known,
) -> Opportunity:
    """A new open opportunity; `competitors` are those that the caller may name. Raises Invalid for a product, stage or
    competitor that does not exist, and for custom fields that are wrong."""
    columns: dict[str, Any] = {
        **await taken(tx, Opportunity.record_type, values),
        "customer_name": customer_name,
    }
    await name_competitors(tx, columns, (), competitors)
    check_lost_to(columns.get("lost_to_competitor_id"), columns.get("competitor_ids", ()), lost=False)
    columns["engage_date"] = columns.get("engage_date") or tx.now.date()
    await _with_product(tx, columns)
    return register(tx, columns, owner, await stages_for(tx), id)


async def change_opportunity(
    tx: Transaction,
    opportunity: Opportunity,
    values: Mapping[str, Any],
    customer_name: str | None,
    competitors: Known = _NOBODY,
) -> None:
    """Changes fields; `competitors` are those that the caller may name beside the present ones. Raises OpportunityClosed;
    Invalid for a product or competitor that does not exist, for the stage, or for custom fields that are wrong."""
    values = dict(await taken(tx, opportunity.record_type, values, opportunity.custom_fields))
    await name_competitors(tx, values, opportunity.competitor_ids, competitors)
    columns = {name: value for name, value in values.items() if getattr(opportunity, name) != value}
    if "stage_id" in columns:
        raise Invalid("opportunity.stageId", "moves by moveStage only", reason="FIELD_NOT_WRITABLE")
    if opportunity.status != OPEN and columns.keys() - _CHANGEABLE_WHEN_CLOSED:
        raise OpportunityClosed(opportunity.status)
    check_lost_to(
        columns.get("lost_to_competitor_id", opportunity.lost_to_competitor_id),
        columns.get("competitor_ids", opportunity.competitor_ids),
        lost=opportunity.status == LOST,
    )
    await _with_product(tx, columns)
    if "customer_id" in columns and customer_name is not None:
        columns["customer_name"] = customer_name
    changed = change(opportunity, columns)
    if not changed:
        return
    opportunity.findable()
    tx.record(OpportunityUpdated(**told(opportunity), changed_fields=changed), on=opportunity)


def assign_opportunity(tx: Transaction, opportunity: Opportunity, owner: Owner) -> None:
    """Gives it to another owner; the present owner changes nothing."""
    if opportunity.owner_id == owner.person_id:
        return
    previous = opportunity.owner_id
    opportunity.owner_id, opportunity.team_id = owner.person_id, owner.team_id
    opportunity.assign_time = tx.now
    tx.record(OpportunityAssigned(**told(opportunity), previous_owner_id=previous), on=opportunity)


async def move(tx: Transaction, opportunity: Opportunity, stage_id: UUID, probability: int) -> None:
    """Puts it in another stage; the present one changes nothing. Raises OpportunityClosed, Invalid (STAGE_NOT_FOUND)."""
    opportunity.need_open()
    stages = await stages_for(tx)
    position = position_of(stages, stage_id, "stageId")
    if opportunity.stage_id == stage_id:
        return
    before: dict[str, Any] = {
        "previous_stage_id": opportunity.stage_id,
        "previous_stage_name": opportunity.stage_name,
    }
    opportunity.enter(stages, position, tx.now, probability)
    tx.record(OpportunityStageChanged(**told(opportunity), **before), on=opportunity)


def win(tx: Transaction, opportunity: Opportunity, day: date | None, amount: Money | None, note: str) -> None:
    """Closes it as won. Raises OpportunityClosed, Invalid."""
    opportunity.close(WON, day or tx.now.date(), tx.now.date(), note)
    if amount is not None:
        opportunity.amount, opportunity.amount_currency = amount.minor, amount.currency
    tx.record(OpportunityWon(**told(opportunity)), on=opportunity)


async def lose(
    tx: Transaction,
    opportunity: Opportunity,
    reason: str,
    day: date | None,
    competitor: str,
    note: str,
    lost_to: UUID | None = None,
    competitors: Known = _NOBODY,
) -> None:
    """Closes it as lost; `lost_to` is the competitor that got it, `competitors` are those that the caller may name beside the
    present ones. Raises OpportunityClosed; Invalid when OTHER comes without a note, for a competitor that does not exist, and
    when too many have bid."""
    if reason == "OTHER" and not note:
        raise Invalid("note", "is needed when the reason is another one")
    opportunity.close(LOST, day or tx.now.date(), tx.now.date(), note)
    if lost_to is not None:
        await check_named(tx, [lost_to], opportunity.competitor_ids, competitors, "competitorId")
        opportunity.competitor_ids = with_winner(opportunity.competitor_ids, lost_to)
        opportunity.lost_to_competitor_id = lost_to
    opportunity.loss_reason = reason
    opportunity.competitor = competitor or opportunity.competitor
    tx.record(OpportunityLost(**told(opportunity)), on=opportunity)


async def reopen(tx: Transaction, opportunity: Opportunity, stage_id: UUID | None, note: str) -> None:
    """Takes the end back. Raises OpportunityOpen, OpportunityHasOrders, Invalid (STAGE_NOT_FOUND)."""
    if opportunity.status == OPEN:
        raise OpportunityOpen
    await _need_no_orders(tx, opportunity)
    stages = await stages_for(tx)
    if stage_id is None and any(stage.id == opportunity.stage_id for stage in stages):
        stage_id = opportunity.stage_id
    previous = opportunity.status
    opportunity.enter(stages, position_of(stages, stage_id, "stageId"), tx.now)
    opportunity.status = OPEN
    opportunity.close_date = None
    opportunity.loss_reason = opportunity.close_note = ""
    opportunity.lost_to_competitor_id = None
    if note:
        opportunity.notes = f"{opportunity.notes}\n{note}".strip()[-_LONGEST_NOTES:]
    tx.record(OpportunityReopened(**told(opportunity), previous_status=previous), on=opportunity)


async def drop(tx: Transaction, opportunity: Opportunity) -> None:
    """Deletes it with what is on it. Raises OpportunityHasOrders."""
    await _need_no_orders(tx, opportunity)
    await drop_papers(tx, opportunity.record_type, [opportunity.id])
    tx.delete(opportunity)
    tx.record(OpportunityDeleted(**told(opportunity)), on=opportunity)


async def check_customer(tx: Transaction, id: UUID, customer_id: UUID | None, field: str) -> None:
    """Raises Invalid (CUSTOMER_MISMATCH) naming `field` unless the opportunity is that customer's."""
    found = await tx.session.execute(text("SELECT customer_id FROM opportunities WHERE id = :id"), {"id": id})
    if found.scalar_one() != customer_id:
        raise customer_mismatch(field)


_ORDERS = text(
    "SELECT EXISTS (SELECT FROM orders WHERE opportunity_id = :id AND status <> 'CANCELLED' AND deleted_at IS NULL)"
)


async def _need_no_orders(tx: Transaction, opportunity: Opportunity) -> None:
    if (await tx.session.execute(_ORDERS, {"id": opportunity.id})).scalar_one():
        raise OpportunityHasOrders
