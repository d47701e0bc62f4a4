"""Partners: what a customer is that we sell through, buy from or work with. A row of its own, so that plain customers stay light.

Who may see and change it is decided by the customer: owner and team are the customer's and follow it. What the partner owes
stands in the row, too, and is derived from orders, see `value.arrears`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, col, select

from chassis.database import Transaction
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.kept import put_back
from chassis.mapping import change, plain_decimal
from chassis.money import Money
from chassis.parts import Part, Whole
from chassis.records import Owned
from customers.customer import Customer, get_with_customer
from customers.value.arrears import owe_anew
from customers.value_lists import VALUE_LISTS

LISTED = {"type": "partner_type", "discount_level": "discount_level"}
"""Columns that hold values of lists."""
_DERIVED = frozenset({"arrears", "in_arrears", "over_credit", "arrears_amount", "arrears_currency"})


class Partner(Owned, table=True):
    """A customer as a partner. Money in minor units; `arrears` is [{currency, amount, order_count}] and, like the columns
    behind it, written by `value.arrears` alone."""

    __tablename__ = "partners"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "partner"
    history_hidden: ClassVar[frozenset[str]] = _DERIVED
    undone_by: ClassVar[tuple[Part, ...]] = (Whole(("credit_limit", "credit_limit_currency")),)

    customer_id: UUID
    type: str
    discount_level: str = ""
    discount_percent: Decimal | None = None
    credit_limit: int | None = Field(default=None, sa_type=BigInteger)
    credit_limit_currency: str = ""
    notes: str = ""
    arrears: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    in_arrears: bool = False
    over_credit: bool = False
    arrears_amount: int = Field(default=0, sa_type=BigInteger)
    arrears_currency: str = ""


@dataclass(frozen=True, kw_only=True)
class PartnerSnapshot:
    customer_id: UUID
    type: str
    discount_level: str
    discount_percent: str
    credit_limit: Money | None


@dataclass(frozen=True, kw_only=True)
class PartnerEvent(Event):
    """What every event says of a partner."""

    partner_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    partner: PartnerSnapshot


class PartnerCreated(PartnerEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class PartnerUpdated(PartnerEvent):
    changed_fields: list[str]


class PartnerDeleted(PartnerEvent):
    pass


def told(partner: Partner) -> dict[str, Any]:
    """What every event says of a partner."""
    limit = partner.credit_limit
    return {
        "partner_id": partner.id, "owner_id": partner.owner_id, "team_id": partner.team_id,
        "partner": PartnerSnapshot(
            customer_id=partner.customer_id, type=partner.type, discount_level=partner.discount_level,
            discount_percent="" if partner.discount_percent is None else plain_decimal(partner.discount_percent),
            credit_limit=None if limit is None else Money(limit, partner.credit_limit_currency),
        ),
    }  # fmt: skip


async def _listed(tx: Transaction, values: Mapping[str, Any], partner: Partner | None) -> dict[str, Any]:
    """The values with keys of the lists. Raises Invalid (VALUE_UNKNOWN, VALUE_RETIRED)."""
    out = dict(values)
    lists = await VALUE_LISTS.within(tx)
    for column, list_key in LISTED.items():
        if out.get(column):
            present = "" if partner is None else getattr(partner, column)
            out[column] = lists.key(list_key, out[column], present, f"partner.{column}")
    return out


async def begin_partnership(
    tx: Transaction, customer: Customer, values: Mapping[str, Any], id: UUID | None
) -> Partner:
    """Makes a customer a partner; its row is locked. Raises Invalid for listed values that are wrong, AlreadyExists when it is
    one."""
    columns: dict[str, Any] = {
        **await _listed(tx, values, None), "id": id or new_id(), "customer_id": customer.id, "owner_id": customer.owner_id,
        "team_id": customer.team_id,
    }  # fmt: skip
    partner = Partner(**columns)
    tx.add(partner)
    tx.record(PartnerCreated(**told(partner)), on=partner)
    await _derive(tx, partner)
    return partner


async def change_partner(tx: Transaction, partner: Partner, values: Mapping[str, Any]) -> None:
    """Changes fields. Raises Invalid for listed values that are wrong."""
    changed = change(partner, await _listed(tx, values, partner))
    changed = [name for name in changed if name != "credit_limit_currency" or "credit_limit" not in changed]
    if changed:
        names = ["credit_limit" if name == "credit_limit_currency" else name for name in changed]
        tx.record(PartnerUpdated(**told(partner), changed_fields=names), on=partner)
        await _derive(tx, partner)


def end_partnership(tx: Transaction, partner: Partner) -> None:
    """The customer is a partner no longer."""
    tx.delete(partner)
    tx.record(PartnerDeleted(**told(partner)), on=partner)


async def _derive(tx: Transaction, partner: Partner) -> None:
    await tx.session.flush()
    await owe_anew(tx, partner.customer_id)
    await tx.session.refresh(partner)


async def partner_of(tx: Transaction, customer_id: UUID) -> Partner | None:
    """What the customer is as a partner, locked; None when it is none."""
    wanted = (
        select(Partner)
        .where(col(Partner.customer_id) == customer_id, col(Partner.deleted_at).is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await tx.session.execute(wanted)).scalar_one_or_none()


async def partner_for(tx: Transaction, id: UUID, *, shares: bool = True) -> Partner:
    """The partner, locked, whose customer the caller may change; without `shares`, by a right of their own. Raises NotFound,
    Denied."""
    return await get_with_customer(tx, Partner, id, lambda partner: partner.customer_id, shares=shares)


async def partners_of(tx: Transaction, customer_ids: Iterable[UUID]) -> list[Partner]:
    """What these customers are as partners, in their order, locked."""
    found = [await partner_of(tx, id) for id in customer_ids]
    return [one for one in found if one is not None]


async def join_partners(tx: Transaction, survivor: Customer, partners: list[Partner]) -> None:
    """Of the partners that merged customers were, the first, which is the survivor's where it was one, stays and is the
    survivor's; the others end."""
    if not partners:
        return
    stays, *others = partners
    for one in others:
        end_partnership(tx, one)
    await tx.session.flush()
    if stays.customer_id != survivor.id:
        stays.customer_id, stays.owner_id, stays.team_id = survivor.id, survivor.owner_id, survivor.team_id
        tx.record(PartnerUpdated(**told(stays), changed_fields=["customer_id"]), on=stays)
        await tx.session.flush()


async def partners_back(tx: Transaction, kept: Mapping[str, Any]) -> None:
    """Partners that were moved or ended by a merge or deletion are there again."""
    back: list[Partner] = []
    # Those that stayed give the survivor up before another takes its place.
    for id, changed in sorted(kept.get("partner", {}).items(), key=lambda one: "deleted_at" in one[1]):
        row = await tx.session.get(
            Partner, (tx.who.tenant_id, UUID(id)), with_for_update=True, populate_existing=True
        )
        if row is None or (row.deleted_at is not None and "deleted_at" not in changed):
            continue  # somebody has ended it since
        if row.deleted_at is not None and await partner_of(tx, row.customer_id) is not None:
            continue  # the customer was made a partner anew
        gone = row.deleted_at is not None
        done = put_back(row, {name: both for name, both in changed.items() if name not in _DERIVED})
        if not done:
            continue
        customer = await tx.find(Customer, row.customer_id, lock=False)
        if customer is not None:
            row.owner_id, row.team_id = customer.owner_id, customer.team_id
        if gone and row.deleted_at is None:
            tx.record(PartnerCreated(**told(row)), on=row)
        else:
            tx.record(PartnerUpdated(**told(row), changed_fields=done), on=row)
        await tx.session.flush()
        back.append(row)
    for row in back:
        await owe_anew(tx, row.customer_id)
