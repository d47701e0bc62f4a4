"""Competitors: who else sells what we sell, with what is known of their products."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, col, select

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.kept import put_back
from chassis.mapping import change
from chassis.money import Money
from chassis.owners import Owner
from chassis.papers import drop_papers
from chassis.principal import Act
from chassis.records import Owned
from chassis.search import Searchable
from chassis.visibility import covers
from customers.customer import Customer
from customers.errors import customer_not_found


class Competitor(Owned, Searchable, table=True):
    """A competitor. Its products are kept in its row, prices in minor units: they are read and written with it."""

    __tablename__ = "competitors"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "competitor"
    history_listed: ClassVar[frozenset[str]] = frozenset({"products"})

    display_name: str
    website: str = ""
    strengths: str = ""
    weaknesses: str = ""
    notes: str = ""
    customer_id: UUID | None = None
    products: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)

    @classmethod
    def history_entries(cls, read: Callable[[str], Any]) -> Mapping[str, Mapping[str, str]]:
        """The products by their ids, each in one line."""
        return {"products": {one["id"]: _line(one) for one in read("products") or ()}}

    def findable(self) -> None:
        """Keeps the words for searching true to its name and those of its products."""
        self.find_by(names=[self.display_name, *(one["name"] for one in self.products)])


def _line(product: Mapping[str, Any]) -> str:
    prices = [str(product[name]) for name in ("lowest_price", "highest_price") if product[name] is not None]
    parts = [
        product["name"],
        " - ".join(prices) + f" {product['currency']}" if prices else "",
        product["notes"],
    ]
    return " / ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product as it was asked for. `id` is None for a new one."""

    id: UUID | None
    name: str
    notes: str
    lowest_price: Money | None
    highest_price: Money | None


@dataclass(frozen=True, kw_only=True)
class CompetitorSnapshot:
    display_name: str
    customer_id: UUID | None
    product_names: list[str]


@dataclass(frozen=True, kw_only=True)
class CompetitorEvent(Event):
    """What every event says of a competitor."""

    competitor_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    competitor: CompetitorSnapshot


class CompetitorCreated(CompetitorEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class CompetitorUpdated(CompetitorEvent):
    changed_fields: list[str]


class CompetitorDeleted(CompetitorEvent):
    pass


def told(competitor: Competitor) -> dict[str, Any]:
    """What every event says of a competitor."""
    return {
        "competitor_id": competitor.id, "owner_id": competitor.owner_id, "team_id": competitor.team_id,
        "competitor": CompetitorSnapshot(
            display_name=competitor.display_name, customer_id=competitor.customer_id,
            product_names=[one["name"] for one in competitor.products],
        ),
    }  # fmt: skip


async def _check_customer(tx: Transaction, id: UUID | None) -> None:
    if id is None:
        return
    customer = await tx.find(Customer, id, lock=False)
    if customer is None or not covers(customer, tx.who, "customers", Act.READ):
        raise customer_not_found("competitor.customerId", id)


def _kept(products: Sequence[Product]) -> list[dict[str, Any]]:
    """The form in which the row keeps products. Raises Invalid."""
    out: list[dict[str, Any]] = []
    for place, one in enumerate(products):
        field = f"competitor.products[{place}]"
        least, most = one.lowest_price, one.highest_price
        if least is not None and most is not None:
            if least.currency != most.currency:
                raise Invalid(
                    f"{field}.highestPrice", f"is in {most.currency}, lowestPrice in {least.currency}",
                    reason="CURRENCY_MISMATCH",
                )  # fmt: skip
            if most.minor < least.minor:
                raise Invalid(f"{field}.highestPrice", "is below lowestPrice")
        id = str(one.id or new_id())
        if any(other["id"] == id for other in out):
            raise Invalid(f"{field}.id", "stands in the competitor twice")
        known = least or most
        out.append({
            "id": id, "name": one.name, "notes": one.notes, "currency": known.currency if known else "",
            "lowest_price": least.minor if least else None, "highest_price": most.minor if most else None,
        })  # fmt: skip
    return out


async def note_competitor(
    tx: Transaction, values: Mapping[str, Any], products: Sequence[Product], owner: Owner, id: UUID | None
) -> Competitor:
    """A new competitor. Raises Invalid for a customer that the caller may not read and for products that cannot be."""
    await _check_customer(tx, values["customer_id"])
    columns: dict[str, Any] = {
        **values, "id": id or new_id(), "owner_id": owner.person_id, "team_id": owner.team_id, "products": _kept(products)
    }  # fmt: skip
    competitor = Competitor(**columns)
    competitor.findable()
    tx.add(competitor)
    tx.record(CompetitorCreated(**told(competitor)), on=competitor)
    return competitor


async def change_competitor(
    tx: Transaction, competitor: Competitor, values: Mapping[str, Any], products: Sequence[Product] | None
) -> None:
    """Changes fields; `products` replace the present ones. Raises Invalid as `note_competitor` does."""
    if values.get("customer_id") != competitor.customer_id:
        await _check_customer(tx, values.get("customer_id"))
    wanted = dict(values) if products is None else {**values, "products": _kept(products)}
    changed = change(competitor, wanted)
    if changed:
        competitor.findable()
        tx.record(CompetitorUpdated(**told(competitor), changed_fields=changed), on=competitor)


async def drop_competitor(tx: Transaction, competitor: Competitor) -> None:
    """Deletes a competitor with what is on it."""
    await drop_papers(tx, competitor.record_type, [competitor.id])
    tx.delete(competitor)
    tx.record(CompetitorDeleted(**told(competitor)), on=competitor)


async def competitors_of(tx: Transaction, customer_ids: Sequence[UUID]) -> Sequence[Competitor]:
    """The competitors that these customers are, too, locked."""
    found = await tx.session.execute(
        select(Competitor)
        .where(col(Competitor.customer_id).in_(customer_ids), col(Competitor.deleted_at).is_(None))
        .order_by(col(Competitor.id))
        .with_for_update()
    )
    return found.scalars().all()


def follow_merge(tx: Transaction, competitors: Sequence[Competitor], survivor_id: UUID) -> None:
    """These are the survivor of a merge now."""
    for one in competitors:
        one.customer_id = survivor_id
        tx.record(CompetitorUpdated(**told(one), changed_fields=["customer_id"]), on=one)


async def competitors_back(tx: Transaction, kept: Mapping[str, Any]) -> None:
    """Competitors that went to the survivor of a merge are who they were."""
    for id, changed in sorted(kept.get("competitor", {}).items()):
        row = await tx.find(Competitor, UUID(id))
        if row is not None and put_back(row, changed):
            tx.record(CompetitorUpdated(**told(row), changed_fields=["customer_id"]), on=row)
