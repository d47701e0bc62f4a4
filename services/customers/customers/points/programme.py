"""The membership programme: its levels, and the rules by which orders earn points. A tenant has one; until it is first changed
it is not enabled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid5

from sqlalchemy import BigInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.money import Money
from chassis.months import months_later
from chassis.only import only_locked
from chassis.records import Record
from customers.errors import LevelInUse

_NAMES = UUID("6f1c5d0e-0a52-4f0b-9b0e-6a3f6f0f7d11")
AFTER_DELIVERY, AT_PLACING, AT_PAYMENT = "AFTER_DELIVERY", "AT_PLACING", "AT_PAYMENT"
MOST_POINTS = 10**15
"""The most points that are counted for one order or on one card."""


@dataclass(frozen=True, kw_only=True)
class Level:
    id: UUID
    name_en: str
    name_zh: str
    threshold: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`points` for each `per_amount`, of orders of at least `minimum` minor units; None and 0 mean any."""

    id: UUID
    name: str
    points: int
    per_amount: Money
    product_id: UUID | None = None
    level_id: UUID | None = None
    minimum: int = 0
    start_date: date | None = None
    end_date: date | None = None


@dataclass(frozen=True, kw_only=True)
class Bought:
    """One line of an order: minor units with tax."""

    product_id: UUID
    amount: int


class Programme(Record, table=True):
    """The settings of a tenant's membership, levels and rules in the form in which `Level` and `Rule` are kept."""

    __tablename__ = "membership_programmes"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "programme"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"moment_since"})

    enabled: bool = False
    enable_time: datetime | None = None
    earn_moment: str = AT_PAYMENT
    moment_since: datetime | None = None
    """Since when orders earn at that moment; None when they always have."""
    validity_months: int = 0
    level_months: int = 0
    redemption_points: int = Field(default=0, sa_type=BigInteger)
    redemption_value: int | None = Field(default=None, sa_type=BigInteger)
    redemption_value_currency: str = ""
    levels: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    rules: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)

    def worth(self, points: int) -> Money | None:
        """What so many points are worth, rounded down to the currency's smallest unit; None without a value in money."""
        if not self.redemption_points or self.redemption_value is None:
            return None
        minor = points * self.redemption_value // self.redemption_points
        return Money(min(minor, 2**63 - 1), self.redemption_value_currency)

    def valid_until(self, day: date) -> date | None:
        """The last day of points earned on that day; None for ever."""
        return months_later(day, self.validity_months) if self.validity_months else None


@dataclass(frozen=True, kw_only=True)
class ProgrammeUpdated(Event):
    programme_id: UUID
    enabled: bool


def programme_id(tenant_id: UUID) -> UUID:
    """The id of a tenant's one programme."""
    return uuid5(_NAMES, str(tenant_id))


def levels_of(kept: Sequence[Mapping[str, Any]]) -> list[Level]:
    """Levels from the form in which they are kept."""
    return [
        Level(id=UUID(it["id"]), name_en=it["name_en"], name_zh=it["name_zh"], threshold=it["threshold"])
        for it in kept
    ]


def rules_of(kept: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Rules from the form in which they are kept."""
    return [
        Rule(
            id=UUID(it["id"]), name=it["name"], points=it["points"], per_amount=Money(it["per_amount"], it["currency"]),
            product_id=UUID(it["product_id"]) if it["product_id"] else None,
            level_id=UUID(it["level_id"]) if it["level_id"] else None, minimum=it["minimum"],
            start_date=date.fromisoformat(it["start_date"]) if it["start_date"] else None,
            end_date=date.fromisoformat(it["end_date"]) if it["end_date"] else None,
        )
        for it in kept
    ]  # fmt: skip


def _kept_level(level: Level) -> dict[str, Any]:
    return {
        "id": str(level.id), "name_en": level.name_en, "name_zh": level.name_zh, "threshold": level.threshold
    }  # fmt: skip


def _kept_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": str(rule.id), "name": rule.name, "points": rule.points, "per_amount": rule.per_amount.minor,
        "currency": rule.per_amount.currency, "product_id": str(rule.product_id or ""), "level_id": str(rule.level_id or ""),
        "minimum": rule.minimum, "start_date": rule.start_date.isoformat() if rule.start_date else "",
        "end_date": rule.end_date.isoformat() if rule.end_date else "",
    }  # fmt: skip


async def programme_for(tx: Transaction) -> Programme | None:
    """The programme; None when nobody has made one yet."""
    return await tx.find(Programme, programme_id(tx.who.tenant_id), lock=False)


_HELD = text(
    "SELECT DISTINCT level_id FROM membership_cards WHERE level_id IS NOT NULL AND deleted_at IS NULL"
)


async def locked_programme(tx: Transaction) -> Programme:
    """The programme for changing it; one without levels and rules is written down first."""
    await tx.hold("programme")
    return await only_locked(tx, Programme, programme_id(tx.who.tenant_id))


async def arrange_programme(
    tx: Transaction,
    programme: Programme,
    values: Mapping[str, Any],
    levels: Sequence[Level] | None,
    rules: Sequence[Rule] | None,
) -> None:
    """Changes the programme; levels and rules replace the present ones, None leaves them.

    Raises LevelInUse; Invalid for what does not fit together.
    """
    changed = change(programme, {**values, "earn_moment": values.get("earn_moment") or programme.earn_moment})
    if "enabled" in changed:
        programme.enable_time = tx.now if programme.enabled else None
    if "earn_moment" in changed:
        programme.moment_since = tx.now
    if bool(programme.redemption_points) != (programme.redemption_value is not None):
        raise Invalid("programme.redemptionValue", "goes with redemptionPoints: give both or neither")
    if levels is not None:
        levels = [level if level.id.int else replace(level, id=new_id()) for level in levels]
        _check_levels(levels)
        staying = {level.id for level in levels}
        held = set((await tx.session.execute(_HELD)).scalars())
        for old in levels_of(programme.levels):
            if old.id not in staying and old.id in held:
                raise LevelInUse(old.name_en)
        programme.levels = [_kept_level(level) for level in levels]
    if rules is not None:
        rules = [rule if rule.id.int else replace(rule, id=new_id()) for rule in rules]
        programme.rules = [_kept_rule(rule) for rule in rules]
    if levels is not None or rules is not None:
        _check_rules(rules_of(programme.rules), {level.id for level in levels_of(programme.levels)})
    tx.record(ProgrammeUpdated(programme_id=programme.id, enabled=programme.enabled), on=programme)


def _check_levels(levels: Sequence[Level]) -> None:
    for place, level in enumerate(levels):
        field = f"programme.levels[{place}]"
        before = levels[:place]
        if any(level.id == other.id for other in before):
            raise Invalid(f"{field}.id", "stands in the programme twice")
        if any(level.name_en.casefold() == other.name_en.casefold() for other in before):
            raise Invalid(f"{field}.nameEn", "stands in the programme twice")
        if any(level.name_zh == other.name_zh for other in before):
            raise Invalid(f"{field}.nameZh", "stands in the programme twice")
        if not before and level.threshold:
            raise Invalid(f"{field}.threshold", "is 0 for the first level, which every new member has")
        if before and level.threshold <= before[-1].threshold:
            raise Invalid(f"{field}.threshold", "is not above that of the level before")


def _check_rules(rules: Sequence[Rule], levels: set[UUID]) -> None:
    for place, rule in enumerate(rules):
        field = f"programme.rules[{place}]"
        if any(rule.id == other.id for other in rules[:place]):
            raise Invalid(f"{field}.id", "stands in the programme twice")
        if rule.level_id is not None and rule.level_id not in levels:
            raise Invalid(f"{field}.levelId", "is no level of this programme", reason="LEVEL_NOT_FOUND")
        if rule.start_date and rule.end_date and rule.end_date < rule.start_date:
            raise Invalid(f"{field}.endDate", "is before startDate")


def level_for(levels: Sequence[Level], points: int) -> UUID | None:
    """The highest level that so many earned points reach; None without levels."""
    reached = [level.id for level in levels if level.threshold <= points]
    return reached[-1] if reached else None


def earned_by(
    rules: Sequence[Rule], lines: Sequence[Bought], currency: str, day: date, level_id: UUID | None
) -> int:
    """The points of an order that earns on that day.

    Each line goes to the rule that gives the most for its money, the first of equals; what a rule gives is
    floor(points x sum of its lines / per_amount), and a line below zero takes its part away.
    """
    total = sum(line.amount for line in lines)
    fitting = [
        rule
        for rule in rules
        if rule.per_amount.currency == currency
        and rule.minimum <= total
        and rule.level_id in (None, level_id)
        and (rule.start_date is None or rule.start_date <= day)
        and (rule.end_date is None or day <= rule.end_date)
    ]
    sums: dict[UUID, int] = {}
    for line in lines:
        best: Rule | None = None
        for rule in fitting:
            if rule.product_id not in (None, line.product_id):
                continue
            # points / per_amount, compared as fractions
            if best is None or rule.points * best.per_amount.minor > best.points * rule.per_amount.minor:
                best = rule
        if best is not None:
            sums[best.id] = sums.get(best.id, 0) + line.amount
    points = sum(rule.points * sums[rule.id] // rule.per_amount.minor for rule in fitting if rule.id in sums)
    return min(max(points, 0), MOST_POINTS)
