"""The public pool: customers that nobody owns. People claim some and put some back, and the tenant's rule puts those back with
whom nobody has been in touch.

A customer is idle since somebody was last in touch with it (`touches`) or it got its owner, whatever came last. So many days
before the rule takes it, its owner is warned, once, and the day stands on the customer (`return_time`); whoever is in touch
with it in time keeps it, and the day is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid5

from sqlalchemy import ARRAY, Text, select, text
from sqlmodel import Field, col

from chassis.database import Database, Transaction
from chassis.errors import Invalid, NotFound, Precondition
from chassis.events.event import Event
from chassis.mapping import change
from chassis.only import only, only_locked
from chassis.owners import Owner
from chassis.principal import NOBODY, Principal
from chassis.records import Record
from customers.customer import Customer, CustomerSnapshot, told
from customers.ownership import assign_customers, belong
from customers.value_lists import VALUE_LISTS

RETURN = "return idle customers"
"""The kind of the job. Its key is the tenant."""
_EACH = timedelta(minutes=10)
_AT_ONCE = 100
_NAMESPACE = UUID("5d7c9a52-1f0e-4a0f-8d53-9d6f2d6f1c0b")


class PoolRule(Record, table=True):
    """A tenant's rule; there is none until somebody makes one."""

    __tablename__ = "pool_rules"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "pool_rule"

    idle_days: int = 0
    warning_days: int = 7
    kept_level_keys: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    kept_stage_keys: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    claim_limit: int = 0
    claim_pause_hours: int = 0


@dataclass(frozen=True, kw_only=True)
class PoolRuleUpdated(Event):
    rule_id: UUID
    changed_fields: list[str]


@dataclass(frozen=True, kw_only=True)
class CustomerReturned(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot
    previous_owner_id: UUID | None
    reason: str
    idle: bool


@dataclass(frozen=True, kw_only=True)
class CustomerReturnWarned(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot
    return_time: datetime


class CustomerNotInPool(Precondition):
    reason = "CUSTOMER_NOT_IN_POOL"

    def __init__(self) -> None:
        super().__init__("Somebody owns this customer: only those of the pool can be claimed.")


class CustomerInPool(Precondition):
    reason = "CUSTOMER_IN_POOL"

    def __init__(self) -> None:
        super().__init__("Nobody owns this customer: it is in the pool.")


class ClaimLimitReached(Precondition):
    reason = "CLAIM_LIMIT_REACHED"

    def __init__(self, owned: int, limit: int) -> None:
        having = "1 customer" if owned == 1 else f"{owned} customers"
        super().__init__(
            f"You own {having}, and nobody who owns {limit} claims another: put some back first.",
            metadata={"owned": str(owned), "limit": str(limit)},
        )


class ClaimTooSoon(Precondition):
    reason = "CLAIM_TOO_SOON"

    def __init__(self, until: datetime) -> None:
        super().__init__(
            f"You had this customer before: it is others' turn until {until.isoformat(timespec='seconds')}.",
            metadata={"untilTime": until.isoformat()},
        )


def rule_id(tenant_id: UUID) -> UUID:
    """The id of a tenant's rule."""
    return uuid5(_NAMESPACE, str(tenant_id))


async def rule_of(tx: Transaction) -> PoolRule:
    """The tenant's rule; what holds without one when nobody has made it."""
    return await only(tx, PoolRule, rule_id(tx.who.tenant_id))


_WARN_ANEW = text("UPDATE customers SET return_time = NULL WHERE return_time IS NOT NULL")


_KEPT = (
    ("kept_level_keys", "rule.keptLevelKeys", "level"), ("kept_stage_keys", "rule.keptStageKeys", "stage"),
)  # fmt: skip


async def change_rule(tx: Transaction, values: Mapping[str, Any], etag: str) -> PoolRule:
    """Sets what is named. Raises EtagMismatch; Invalid for days that leave no time to warn, and for levels and stages that the
    tenant's lists do not have (VALUE_UNKNOWN)."""
    rule = await only_locked(tx, PoolRule, rule_id(tx.who.tenant_id))
    tx.check_etag(rule, etag)
    for column, field, list_key in _KEPT:
        for key in values.get(column, ()):
            if key not in getattr(rule, column):
                (await VALUE_LISTS.within(tx)).by_key[list_key].check_named(key, field)
    changed = change(rule, values)
    if rule.idle_days and not 1 <= rule.warning_days < rule.idle_days:
        raise Invalid("rule.warningDays", "is at least 1 and less than idleDays")
    if not changed:
        return rule
    tx.record(PoolRuleUpdated(rule_id=rule.id, changed_fields=changed), on=rule)
    if not {"idle_days", "warning_days", "kept_level_keys", "kept_stage_keys"}.isdisjoint(changed):
        await tx.session.execute(_WARN_ANEW)
    if rule.idle_days:
        await tx.enqueue(RETURN, {}, key=str(tx.who.tenant_id))
    return rule


_OWNED = text("SELECT count(*) FROM customers WHERE owner_id = :person AND deleted_at IS NULL")


async def claim(tx: Transaction, id: UUID) -> Customer:
    """Gives the caller a customer of the pool. Raises NotFound, Denied, CustomerNotInPool, ClaimLimitReached, ClaimTooSoon."""
    who = tx.who
    # One's own claims come one after the other, so that the limit holds.
    await tx.hold(f"customer claims {who.person_id}")
    customer = await tx.find(Customer, id)
    if customer is None:
        raise NotFound("customer", id)
    if customer.owner_id is not None:
        await tx.get(
            Customer, id, right="customers"
        )  # who may not change it learns no more of it than elsewhere
        raise CustomerNotInPool
    rule = await rule_of(tx)
    if rule.claim_limit:
        owned = (await tx.session.execute(_OWNED, {"person": who.person_id})).scalar_one()
        if owned >= rule.claim_limit:
            raise ClaimLimitReached(owned, rule.claim_limit)
    if customer.previous_owner_id == who.person_id and customer.pool_time is not None:
        until = customer.pool_time + timedelta(hours=rule.claim_pause_hours)
        if until > tx.now:
            raise ClaimTooSoon(until)
    await assign_customers(tx, [customer], Owner(who.person_id, who.team_id))
    return customer


async def give_back(tx: Transaction, customer: Customer, reason: str) -> None:
    """Puts a customer into the pool. Raises CustomerInPool."""
    if customer.owner_id is None:
        raise CustomerInPool
    await _to_pool(tx, [customer], reason, idle=False)


async def _to_pool(tx: Transaction, customers: Sequence[Customer], reason: str, *, idle: bool) -> None:
    await belong(tx, customers, None)
    for one in customers:
        one.return_reason = reason
        tx.record(
            CustomerReturned(**told(one), previous_owner_id=one.previous_owner_id, reason=reason, idle=idle), on=one
        )  # fmt: skip


_TOUCHED = "greatest(created_at, assign_time, last_contact_time, last_deal_time, last_service_time)"
"""When somebody was last in touch with a customer, or it got its owner: as an index has it."""
_IDLE = (
    f"owner_id IS NOT NULL AND deleted_at IS NULL AND {_TOUCHED} <= :until AND NOT level = ANY(:levels)"
    " AND NOT stage = ANY(:stages)"
)
# Customers that somebody holds are looked at next time: who holds one may be giving it away, or have been in touch with it.
_SOME = " LIMIT :most FOR UPDATE SKIP LOCKED"
_TO_WARN = text(
    f"SELECT id FROM customers WHERE {_IDLE} AND return_time IS NULL ORDER BY {_TOUCHED}, id{_SOME}"  # noqa: S608 (constants)
)
_TO_RETURN = text(
    f"SELECT id FROM customers WHERE {_IDLE} AND return_time <= :now ORDER BY return_time, id{_SOME}"  # noqa: S608 (constants)
)
_FORGET_DAY = text(
    "UPDATE customers SET return_time = NULL WHERE id IN (SELECT id FROM customers WHERE return_time <= :now"  # noqa: S608 (constants)
    f" AND deleted_at IS NULL AND NOT ({_IDLE}) ORDER BY return_time, id{_SOME}) RETURNING id"
)


async def warn_idle(tx: Transaction) -> bool:
    """Tells the owners of some idle customers when they go back; whether there may be more."""
    rule = await rule_of(tx)
    if not rule.idle_days:
        return False
    idle, warning = timedelta(days=rule.idle_days), timedelta(days=rule.warning_days)
    found = await _some(tx, _TO_WARN, rule, tx.now - (idle - warning))
    for customer in found:
        customer.return_time = max(touched(customer) + idle, tx.now + warning)
        tx.record(CustomerReturnWarned(**told(customer), return_time=customer.return_time), on=customer)
    return len(found) == _AT_ONCE


async def return_idle(tx: Transaction) -> bool:
    """Takes some customers back whose owners were warned in time and have not been in touch since; whether there may be more."""
    rule = await rule_of(tx)
    if not rule.idle_days:
        return False
    until = tx.now - timedelta(days=rule.idle_days)
    found = await _some(tx, _TO_RETURN, rule, until)
    if found:
        await _to_pool(tx, found, "", idle=True)
        return len(found) == _AT_ONCE
    # Left are those whom the rule keeps by now.
    kept = await tx.session.execute(_FORGET_DAY, _asked(tx, rule, until) | {"now": tx.now})
    return len(kept.all()) == _AT_ONCE


def touched(customer: Customer) -> datetime:
    """When somebody was last in touch with it, or it got its owner."""
    times = (
        customer.assign_time, customer.last_contact_time, customer.last_deal_time, customer.last_service_time,
    )  # fmt: skip
    return max([customer.created_at, *(at for at in times if at is not None)])


def _asked(tx: Transaction, rule: PoolRule, until: datetime) -> dict[str, Any]:
    return {
        "until": until, "levels": list(rule.kept_level_keys), "stages": list(rule.kept_stage_keys), "most": _AT_ONCE,
    }  # fmt: skip


async def _some(tx: Transaction, statement: Any, rule: PoolRule, until: datetime) -> list[Customer]:
    asked = _asked(tx, rule, until) | ({"now": tx.now} if statement is _TO_RETURN else {})
    ids = list((await tx.session.execute(statement, asked)).scalars())
    if not ids:
        return []
    rows = select(Customer).where(col(Customer.id).in_(ids)).execution_options(populate_existing=True)
    return list((await tx.session.execute(rows)).scalars())


async def return_idle_customers(payload: Mapping[str, Any], call: Any) -> None:
    """The job: takes back, then warns, some at a time, each in a transaction of its own; then waits for its next turn. Two that
    run at once take different customers, and what is done stays done when the process dies. `call` is that of the chassis'
    jobs."""
    database: Database = call.database
    # That a person once set the rule does not make them the one who acts by it.
    who: Principal = replace(call.who, person_id=NOBODY, name="", team_id=None)
    for some in (return_idle, warn_idle):
        more = True
        while more:
            async with database.transaction(who, origin="rule") as tx:
                more = await some(tx)
    async with database.transaction(who, origin="job") as tx:
        if (await rule_of(tx)).idle_days:
            await tx.enqueue(RETURN, {}, due_at=tx.now + _EACH, key=str(tx.who.tenant_id))
