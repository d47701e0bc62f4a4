"""Products: what is sold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Numeric, text
from sqlmodel import Field

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.money import Money
from chassis.papers import drop_papers
from chassis.records import Customized, Record
from chassis.search import Searchable
from sales.errors import ProductInUse, product_not_found

ACTIVE, RETIRED = "ACTIVE", "RETIRED"
STATUSES = (ACTIVE, RETIRED)


class Product(Record, Searchable, Customized, table=True):
    """Something that is sold. The list price and what it costs us are without tax."""

    __tablename__ = "products"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "product"

    name: str
    sku: str = ""
    series: str = ""
    unit: str = ""
    list_price: int | None = Field(default=None, sa_type=BigInteger)
    list_price_currency: str = ""
    standard_cost: int | None = Field(default=None, sa_type=BigInteger)
    standard_cost_currency: str = ""
    tax_percent: Decimal | None = Field(default=None, sa_type=Numeric)
    description: str = ""
    status: str = ACTIVE
    retire_time: datetime | None = None

    def findable(self) -> None:
        """Keeps the words for searching true to name and article number."""
        self.find_by(names=[self.name], texts=[self.sku])

    @property
    def price(self) -> Money | None:
        """The list price."""
        return None if self.list_price is None else Money(self.list_price, self.list_price_currency)

    @property
    def cost(self) -> Money | None:
        """What one unit costs us."""
        return None if self.standard_cost is None else Money(self.standard_cost, self.standard_cost_currency)


@dataclass(frozen=True, kw_only=True)
class ProductSnapshot:
    name: str
    sku: str
    series: str
    unit: str
    list_price: Money | None
    status: str
    custom_fields: dict[str, Any]
    standard_cost: Money | None


@dataclass(frozen=True, kw_only=True)
class ProductEvent(Event):
    """What every event says of a product."""

    product_id: UUID
    product: ProductSnapshot


class ProductCreated(ProductEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class ProductUpdated(ProductEvent):
    changed_fields: list[str]


class ProductDeleted(ProductEvent):
    pass


def told(product: Product) -> dict[str, Any]:
    """What every event says of a product."""
    return {
        "product_id": product.id,
        "product": ProductSnapshot(
            name=product.name, sku=product.sku, series=product.series, unit=product.unit, list_price=product.price,
            status=product.status, custom_fields=dict(product.custom_fields), standard_cost=product.cost,
        ),
    }  # fmt: skip


async def offer(tx: Transaction, values: Mapping[str, Any], id: UUID | None = None) -> Product:
    """A new product. Raises Invalid for custom fields that are wrong."""
    columns: dict[str, Any] = {**await taken(tx, Product.record_type, values), "id": id or new_id()}
    product = Product(**columns)
    product.findable()
    tx.add(product)
    tx.record(ProductCreated(**told(product)), on=product)
    return product


async def change_product(tx: Transaction, product: Product, values: Mapping[str, Any]) -> bool:
    """Changes fields; opportunities show the new name, orders keep theirs. Whether anything was another than before.
    Raises Invalid for custom fields that are wrong."""
    changed = change(product, await taken(tx, product.record_type, values, product.custom_fields))
    if not changed:
        return False
    product.findable()
    if "name" in changed:
        await tx.session.execute(
            text("UPDATE opportunities SET product_name = :name WHERE product_id = :id"),
            {"name": product.name, "id": product.id},
        )
    tx.record(ProductUpdated(**told(product), changed_fields=changed), on=product)
    return True


def set_status(tx: Transaction, product: Product, status: str) -> None:
    """Retires or reactivates; the present status changes nothing."""
    if product.status == status:
        return
    product.status = status
    product.retire_time = tx.now if status == RETIRED else None
    tx.record(ProductUpdated(**told(product), changed_fields=["status", "retire_time"]), on=product)


_USED = text(
    "SELECT EXISTS (SELECT FROM opportunities WHERE product_id = :id AND deleted_at IS NULL)"
    " OR EXISTS (SELECT FROM orders WHERE lines @> CAST(:line AS jsonb) AND deleted_at IS NULL)"
)


async def withdraw(tx: Transaction, product: Product) -> None:
    """Deletes a product with what is on it. Raises ProductInUse."""
    line = f'[{{"product_id": "{product.id}"}}]'
    if (await tx.session.execute(_USED, {"id": product.id, "line": line})).scalar_one():
        raise ProductInUse
    await drop_papers(tx, product.record_type, [product.id])
    tx.delete(product)
    tx.record(ProductDeleted(**told(product)), on=product)


_COSTS = text("SELECT id, standard_cost, standard_cost_currency FROM products WHERE id = ANY(:ids)")


async def costs_of(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, Money]:
    """What one unit of these products costs us, also of retired ones; those of unknown cost are left out."""
    rows = (await tx.session.execute(_COSTS, {"ids": list(ids)})).all()
    return {
        row.id: Money(row.standard_cost, row.standard_cost_currency)
        for row in rows
        if row.standard_cost is not None
    }


async def sellable(tx: Transaction, id: UUID, field: str) -> Product:
    """The product, held until the transaction ends so that nobody deletes it meanwhile. Raises Invalid (PRODUCT_NOT_FOUND)."""
    product = await tx.find(Product, id)
    if product is None or product.status != ACTIVE:
        raise product_not_found(field)
    return product
