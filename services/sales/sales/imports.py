"""Importing products and opportunities from files."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.custom_fields.definitions import taken
from chassis.custom_fields.given import COLUMN
from chassis.database import Transaction
from chassis.errors import Invalid, Problem
from chassis.imports.custom import refused_by
from chassis.imports.duplicates import Do, decided, lacking
from chassis.imports.importer import (
    Found,
    Importer,
    ImportRow,
    Options,
    Outcome,
    Undo,
    by_name,
    created,
    refused,
    skipped,
    unchanged,
    updated,
)
from chassis.imports.mapping import Target
from chassis.imports.owners import OWNER, owners_under
from chassis.imports.progress import ImportProgressed
from chassis.imports.rpc import Imports
from chassis.imports.tables import SKIP
from chassis.imports.values import Amount, Choice, Day, Number, Reference, Refused, Text, shown
from chassis.papers import papers_on
from chassis.rpc import Call
from sales.activity_imports import ACTIVITIES
from sales.custom_fields import CUSTOM_FIELDS
from sales.errors import ImportMovedOn, OpportunityClosed, OpportunityTouched, ProductTouched
from sales.opportunity import (
    LOST,
    OPEN,
    WON,
    Opportunity,
    assign_opportunity,
    change_opportunity,
    drop,
    lose,
    move,
    register,
    win,
)
from sales.pipeline import Stage, stages_for
from sales.product import Product, change_product, offer, withdraw
from sales.rpc.peers import customers_named

_ENDS = {"won": WON, "赢单": WON, "lost": LOST, "输单": LOST}
_STAGE_NOT_FOUND = "STAGE_NOT_FOUND"


class ProductImportProgressed(ImportProgressed):
    """The same of products, which stand under a right of their own."""


_PRODUCT_COLUMNS = {
    "name": "name", "sku": "sku", "series": "series", "unit": "unit", "description": "description", "taxPercent": "tax_percent",
}  # fmt: skip


async def save_products(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New products; with UPSERT, one whose number, or without one whose name, is there already is changed. Otherwise a row
    whose name or number is taken is refused."""
    found = await tx.session.execute(
        text("SELECT id, lower(name) AS name, sku FROM products WHERE deleted_at IS NULL")
    )
    known = [(row.id, row.name, row.sku) for row in found]
    names, skus = {name: id for id, name, _ in known}, {sku: id for id, _, sku in known if sku}
    out: list[Outcome] = []
    for row in rows:
        values = row.values
        name, sku = values.get("name", ""), values.get("sku", "")
        named, numbered = names.get(name.lower()), skus.get(sku)
        there = (numbered or named) if options.changes else None
        twin: UUID | None = numbered or named
        if options.duplicates == SKIP and not options.upsert and twin is not None:
            out.append(skipped(twin, "sku" if numbered else "name"))
        elif there is None and not options.creates:
            out.append(
                refused("RECORD_NOT_FOUND", "an update makes no new products", "sku" if sku else "name")
            )
        elif named not in (None, there):
            out.append(refused("PRODUCT_NAME_TAKEN", f"there is a product {name} already", "name"))
        elif numbered not in (None, there):
            out.append(refused("SKU_TAKEN", f"there is a product with the number {sku} already", "sku"))
        elif there is not None:
            product = await tx.get(Product, there, right="products")
            try:
                given = _product_columns(values)
                if not options.upsert:
                    given = lacking(product, given)
                columns = await taken(tx, product.record_type, given, product.custom_fields)
            except Invalid as problem:
                out.append(refused_by(problem))
                continue
            del names[product.name.lower()]
            skus.pop(product.sku, None)
            changed = await change_product(tx, product, columns)
            names[product.name.lower()] = there
            skus[product.sku] = there
            out.append(updated(there) if changed else unchanged(there))
        else:
            try:
                columns = await taken(tx, Product.record_type, _product_columns(values))
            except Invalid as problem:
                out.append(refused_by(problem))
                continue
            id = (await offer(tx, columns)).id
            names[name.lower()] = skus[sku] = id
            out.append(created(id))
        skus.pop("", None)
    return out


def _product_columns(values: dict[str, Any]) -> dict[str, Any]:
    columns = {column: values[name] for name, column in _PRODUCT_COLUMNS.items() if name in values}
    if "listPrice" in values:
        columns["list_price"] = values["listPrice"].minor
        columns["list_price_currency"] = values["listPrice"].currency
    if "standardCost" in values:
        columns["standard_cost"] = values["standardCost"].minor
        columns["standard_cost_currency"] = values["standardCost"].currency
    if COLUMN in values:
        columns[COLUMN] = values[COLUMN]
    return columns


async def find_customers(call: Call, names: Sequence[str]) -> dict[str, Found | Refused]:
    """Customers by name, among those that the person who imports may see."""
    known = await customers_named(call, names)
    return dict(by_name(names, [(name, (id, name)) for name, id in known], "customer"))


async def find_products(call: Call, names: Sequence[str]) -> dict[str, Found | Refused]:
    """Products by name, with case and spaces set aside where that leaves no doubt."""
    rows = await call.database.read(
        call.who, "SELECT name, id FROM products WHERE deleted_at IS NULL AND status = 'ACTIVE'"
    )
    return dict(by_name(names, [(row["name"], (row["id"], row["name"])) for row in rows], "product"))


async def find_stages(call: Call, names: Sequence[str]) -> dict[str, Found | Refused]:
    """How an opportunity stands, its status and a stage's id: open in the stage of that name, or won or lost without one. An end
    goes before a stage of its name."""
    async with call.database.transaction(call.who) as tx:
        stages = await stages_for(tx)
    known: dict[str, tuple[str, UUID | None]] = {
        **{stage.name.casefold(): (OPEN, stage.id) for stage in stages},
        **{name: (status, None) for name, status in _ENDS.items()},
    }
    return {
        name: Found(known[name.casefold()])
        if name.casefold() in known
        else Refused(_STAGE_NOT_FOUND, f"the pipeline has no stage {shown(name)}")
        for name in names
    }


async def save_opportunities(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New opportunities, open, won or lost; with UPSERT, the one that has the external key already is changed. A row whose key
    is taken otherwise, whose stage is unknown, or that ended on a day yet to come, is refused."""
    keys = [row.values["externalKey"] for row in rows if row.values.get("externalKey")]
    found = await tx.session.execute(
        text(
            "SELECT id, external_key FROM opportunities WHERE external_key = ANY(:keys) AND deleted_at IS NULL"
        ),
        {"keys": keys},
    )
    there: dict[str, UUID] = {row.external_key: row.id for row in found}
    stages = await stages_for(tx)
    by_id = {stage.id: stage for stage in stages}
    mine = options.owner(tx.who)
    out: list[Outcome] = []
    # What is changed may have been made by a row above.
    async with nullcontext() if options.changes else tx.in_bulk():
        for row in rows:
            values = row.values
            key = values.get("externalKey", "")
            todo = decided(options, there.get(key) if key else None, None, values)
            status, stage_id = values.get("stage", ("", None))
            stage = by_id.get(stage_id)
            if isinstance(todo, Outcome):
                out.append(todo)
            elif todo[0] is Do.FILL:
                out.append(await _filled(tx, there[key], values))
            elif status == OPEN and stage is None:
                # It has gone since it was looked for.
                out.append(refused(_STAGE_NOT_FOUND, "the pipeline has that stage no longer", "stage"))
            elif status in (WON, LOST) and values.get("closeDate", date.min) > tx.now.date():
                out.append(refused("INVALID_FIELD", "is yet to come", "closeDate"))
            elif key in there:
                out.append(await _changed(tx, there[key], values, status, stage))
            else:
                columns = _columns(values, status or OPEN, tx.now.date())
                columns["stage_id"] = (stage or stages[-1 if status in (WON, LOST) else 0]).id
                try:
                    columns = await taken(tx, Opportunity.record_type, columns)
                except Invalid as problem:
                    out.append(refused_by(problem))
                    continue
                id = register(tx, columns, values.get("owner", mine), stages).id
                if key:
                    there[key] = id
                out.append(created(id))
    return out


async def _changed(
    tx: Transaction, id: UUID, values: dict[str, Any], status: str, stage: Stage | None
) -> Outcome:
    """Makes an opportunity that is there what the row says; what the row leaves empty stays."""
    opportunity = await tx.get(Opportunity, id, right="opportunities")
    await tx.session.flush()
    version = opportunity.version
    if opportunity.status != OPEN and status not in ("", opportunity.status):
        return refused("OPPORTUNITY_CLOSED", f"the opportunity is {opportunity.status} already", "stage")
    columns = _columns(values, opportunity.status, tx.now.date())
    if opportunity.status == OPEN and status in (WON, LOST):
        columns.pop("expected_close_date", None)
    if not values.get("name"):
        del columns["name"]
    for name in _NEVER_IMPORTED:
        columns.pop(name, None)
    try:
        columns = await taken(tx, opportunity.record_type, columns, opportunity.custom_fields)
    except Invalid as problem:
        return refused_by(problem)
    try:
        await change_opportunity(tx, opportunity, columns, values.get("customer", (None, None))[1])
    except OpportunityClosed:
        return refused("OPPORTUNITY_CLOSED", f"the opportunity is {opportunity.status} already")
    if "owner" in values:
        assign_opportunity(tx, opportunity, values["owner"])
    if opportunity.status == OPEN:
        if stage is not None:
            await move(tx, opportunity, stage.id, 0)
        elif status == WON:
            win(tx, opportunity, values.get("closeDate"), None, "")
        elif status == LOST:
            await lose(tx, opportunity, values.get("lossReason", _NOT_SAID), values.get("closeDate"), "", "")
    await tx.session.flush()
    return unchanged(id) if opportunity.version == version else updated(id)


async def _filled(tx: Transaction, id: UUID, values: dict[str, Any]) -> Outcome:
    """Fills the fields of an opportunity that are empty; it moves to no other stage, customer or owner."""
    await tx.session.flush()
    opportunity = await tx.get(Opportunity, id, right="opportunities")
    version = opportunity.version
    columns = _columns(values, opportunity.status, tx.now.date())
    for name in (*_NEVER_IMPORTED, "customer_id"):
        columns.pop(name, None)
    try:
        fresh = await taken(
            tx, opportunity.record_type, lacking(opportunity, columns), opportunity.custom_fields
        )
        await change_opportunity(tx, opportunity, fresh, None)
    except Invalid as problem:
        return refused_by(problem)
    except OpportunityClosed:
        return refused("OPPORTUNITY_CLOSED", f"the opportunity is {opportunity.status} already")
    await tx.session.flush()
    return unchanged(id) if opportunity.version == version else updated(id)


async def _put_back(tx: Transaction, opportunity: Opportunity, columns: dict[str, Any]) -> None:
    """Gives an opportunity the values it had before an import. Raises ImportMovedOn when the import has moved it through the
    pipeline or to somebody else, which is no value."""
    moved = columns.keys() & _MOVED
    if moved:
        raise ImportMovedOn("moved the opportunity to another stage, its end or another owner")
    await change_opportunity(tx, opportunity, columns, columns.get("customer_name"))


_ACTIVITIES = text(
    "SELECT DISTINCT opportunity_id FROM activities WHERE opportunity_id = ANY(:ids) AND deleted_at IS NULL"
)


async def _dealt_with(tx: Transaction, ids: Sequence[UUID]) -> Mapping[UUID, Problem]:
    """Why those of the opportunities are kept that somebody has begun to work with."""
    found = await papers_on(tx, Opportunity.record_type, ids)
    for id in (await tx.session.execute(_ACTIVITIES, {"ids": list(ids)})).scalars():
        found.setdefault(UUID(str(id)), []).append("activities")
    return {id: OpportunityTouched(what) for id, what in found.items()}


async def _described(tx: Transaction, ids: Sequence[UUID]) -> Mapping[UUID, Problem]:
    """Why those of the products are kept that somebody has put something on."""
    found = await papers_on(tx, Product.record_type, ids)
    return {id: ProductTouched(what) for id, what in found.items()}


async def _put_product_back(tx: Transaction, product: Product, columns: dict[str, Any]) -> None:
    await change_product(tx, product, columns)


_MOVED = frozenset(
    {"stage_id", "stage_name", "status", "owner_id", "team_id", "close_date", "loss_reason", "probability"}
)
_NEVER_IMPORTED = ("status", "close_date", "loss_reason", "customer_name", "product_name")
_NOT_SAID = "NO_DECISION"
_LONGEST_NAME = 200


def _columns(values: dict[str, Any], status: str, today: date) -> dict[str, Any]:
    customer_id, customer = values.get("customer", (None, ""))
    product_id, product = values.get("product", (None, ""))
    name = values.get("name") or " - ".join(part for part in (customer, product) if part)
    columns: dict[str, Any] = {"name": name[:_LONGEST_NAME], "status": status}
    if customer_id is not None:
        columns["customer_id"], columns["customer_name"] = customer_id, customer
    if product_id is not None:
        columns["product_id"], columns["product_name"] = product_id, product
    columns |= {column: values[name] for name, column in _OPPORTUNITY_COLUMNS.items() if name in values}
    if status != OPEN:
        columns["close_date"] = values.get("closeDate") or today
        columns["loss_reason"] = values.get("lossReason", _NOT_SAID) if status == LOST else ""
    elif "closeDate" in values:
        columns.setdefault("expected_close_date", values["closeDate"])
    if "amount" in values:
        columns["amount"], columns["amount_currency"] = values["amount"].minor, values["amount"].currency
    if COLUMN in values:
        columns[COLUMN] = values[COLUMN]
    return columns


_OPPORTUNITY_COLUMNS = {
    "externalKey": "external_key", "engageDate": "engage_date", "expectedCloseDate": "expected_close_date", "notes": "notes",
}  # fmt: skip
_LOSS_REASON = Choice({
    "PRICE": ("price", "价格"), "COMPETITOR": ("competitor", "竞争对手"), "NO_BUDGET": ("no budget", "预算不足"),
    "NO_NEED": ("no need", "无需求"), "TIMING": ("timing", "时机不合适"), "FEATURES": ("features", "产品不合适"),
    "NO_DECISION": ("no decision", "未决定"), "OTHER": ("other", "其他"),
})  # fmt: skip
PRODUCTS = Importer(
    record_type="product",
    right="products",
    targets=(
        Target(
            "name", "Name", Text(200), aliases=("产品", "产品名称", "product", "product name"), required=True
        ),
        Target("sku", "Article number", Text(60), aliases=("货号", "编码", "article", "code")),
        Target("series", "Series", Text(100), aliases=("系列", "类别", "category")),
        Target("unit", "Unit", Text(20), aliases=("单位",)),
        Target("listPrice", "List price", Amount(), aliases=("价格", "单价", "price", "sales price")),
        Target("standardCost", "Standard cost", Amount(), aliases=("标准成本", "成本", "cost", "unit cost")),
        Target("taxPercent", "Tax percent", Number(least=0, most=100, decimals=3), aliases=("税率", "tax")),
        Target("description", "Description", Text(10000, several_lines=True), aliases=("说明",)),
    ),
    save=save_products,
    custom_fields=CUSTOM_FIELDS,
    keys=("sku", "name"),
    undo=Undo(Product, withdraw, _put_product_back, _described),
    progressed=ProductImportProgressed,
)
OPPORTUNITIES = Importer(
    record_type="opportunity",
    right="opportunities",
    targets=(
        Target("name", "Name", Text(200), aliases=("商机", "商机名称", "title")),
        Target(
            "customer",
            "Customer",
            Reference("customer", "customer"),
            aliases=("客户", "account"),
            required=True,
        ),
        Target("product", "Product", Reference("product", "product"), aliases=("产品",)),
        OWNER,
        Target(
            "stage",
            "Stage",
            Reference("stage", "stage", longest=100),
            aliases=("阶段", "deal stage", "status"),
        ),
        Target("amount", "Amount", Amount(), aliases=("金额", "close value", "value")),
        Target("engageDate", "Engage date", Day(), aliases=("接触日期", "start date")),
        Target("expectedCloseDate", "Expected close date", Day(), aliases=("预计成交日期",)),
        Target("closeDate", "Close date", Day(), aliases=("成交日期",)),
        Target("lossReason", "Loss reason", _LOSS_REASON, aliases=("输单原因", "lost reason")),
        Target(
            "externalKey", "External key", Text(100), aliases=("编号", "opportunity id", "id", "external id")
        ),
        Target("notes", "Notes", Text(10000, several_lines=True), aliases=("备注", "remark", "description")),
    ),
    save=save_opportunities,
    custom_fields=CUSTOM_FIELDS,
    resolvers={
        "customer": find_customers,
        "product": find_products,
        "stage": find_stages,
        **owners_under("opportunities"),
    },
    undo=Undo(Opportunity, drop, _put_back, _dealt_with),
    progressed=ImportProgressed,
)
IMPORTS = Imports(PRODUCTS, OPPORTUNITIES, ACTIVITIES)
