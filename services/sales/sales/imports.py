"""Importing products and opportunities from files."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import text

from chassis.database import Transaction
from chassis.imports.importer import Found, Importer, ImportRow, Options, Outcome, by_name, created, refused
from chassis.imports.mapping import Target
from chassis.imports.rpc import Imports
from chassis.imports.values import Amount, Day, Number, Reference, Refused, Text
from chassis.owners import Owner
from chassis.rpc import Call
from sales.opportunity import LOST, OPEN, WON, register
from sales.pipeline import stages_for
from sales.product import offer
from sales.rpc.peers import customers_named, people_named

_ENDS = {"won": WON, "赢单": WON, "lost": LOST, "输单": LOST}


async def save_products(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New products. A row whose name or article number is taken is refused."""
    found = await tx.session.execute(
        text("SELECT lower(name) AS name, sku FROM products WHERE deleted_at IS NULL")
    )
    taken = [(row.name, row.sku) for row in found]
    names, skus = {name for name, _ in taken}, {sku for _, sku in taken if sku}
    out: list[Outcome] = []
    for row in rows:
        values = row.values
        name, sku = values["name"], values.get("sku", "")
        if name.lower() in names:
            out.append(refused("PRODUCT_NAME_TAKEN", f"there is a product {name} already", "name"))
            continue
        if sku and sku in skus:
            out.append(refused("SKU_TAKEN", f"there is a product with the number {sku} already", "sku"))
            continue
        names.add(name.lower())
        skus.add(sku)
        columns = {
            key: values[key] for key in ("name", "sku", "series", "unit", "description") if key in values
        }
        if "listPrice" in values:
            columns["list_price"] = values["listPrice"].minor
            columns["list_price_currency"] = values["listPrice"].currency
        if "taxPercent" in values:
            columns["tax_percent"] = values["taxPercent"]
        out.append(created(offer(tx, columns).id))
    return out


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


async def find_people(call: Call, names: Sequence[str]) -> dict[str, Found | Refused]:
    """People by name."""
    return dict(by_name(names, await people_named(call, names), "person"))


async def save_opportunities(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New opportunities, open, won or lost. A row whose external key is taken, or whose stage is unknown, is refused."""
    keys = [row.values["externalKey"] for row in rows if row.values.get("externalKey")]
    found = await tx.session.execute(
        text("SELECT external_key FROM opportunities WHERE external_key = ANY(:keys) AND deleted_at IS NULL"),
        {"keys": keys},
    )
    taken = {row.external_key for row in found}
    stages = await stages_for(tx)
    by_stage = {stage.name.casefold(): stage for stage in stages}
    mine = Owner(options.owner_id or tx.who.person_id, tx.who.team_id)
    out: list[Outcome] = []
    for row in rows:
        values = row.values
        key = values.get("externalKey", "")
        written = str(values.get("stage", "")).strip()
        status = _ENDS.get(written.casefold(), OPEN)
        stage = (
            by_stage.get(written.casefold())
            if written and status == OPEN
            else stages[-1 if status != OPEN else 0]
        )
        if key and key in taken:
            out.append(refused("EXTERNAL_KEY_TAKEN", f"{key} is there already", "externalKey"))
        elif stage is None:
            out.append(refused("STAGE_NOT_FOUND", f"the pipeline has no stage {written}", "stage"))
        else:
            taken.add(key)
            columns = _columns(values, status, tx.now.date())
            columns["stage_id"] = stage.id
            out.append(created(register(tx, columns, values.get("owner", mine), stages).id))
    return out


def _columns(values: dict[str, Any], status: str, today: date) -> dict[str, Any]:
    customer_id, customer = values["customer"]
    product_id, product = values.get("product", (None, ""))
    columns: dict[str, Any] = {
        "name": values.get("name") or " - ".join(part for part in (customer, product) if part), "status": status,
        "customer_id": customer_id, "customer_name": customer, "product_id": product_id, "product_name": product,
        "external_key": values.get("externalKey", ""), "engage_date": values.get("engageDate"),
        "expected_close_date": values.get("expectedCloseDate"), "notes": values.get("notes", ""),
    }  # fmt: skip
    if status != OPEN:
        columns["close_date"] = values.get("closeDate") or today
        columns["loss_reason"] = "NO_DECISION" if status == LOST else ""
    elif "closeDate" in values and columns["expected_close_date"] is None:
        columns["expected_close_date"] = values["closeDate"]
    if "amount" in values:
        columns["amount"], columns["amount_currency"] = values["amount"].minor, values["amount"].currency
    return columns


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
        Target("taxPercent", "Tax percent", Number(least=0, most=100, decimals=3), aliases=("税率", "tax")),
        Target("description", "Description", Text(10000, several_lines=True), aliases=("说明",)),
    ),
    save=save_products,
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
        Target("owner", "Owner", Reference("person", "person"), aliases=("负责人", "sales agent", "销售")),
        Target("stage", "Stage", Text(100), aliases=("阶段", "deal stage", "status")),
        Target("amount", "Amount", Amount(), aliases=("金额", "close value", "value")),
        Target("engageDate", "Engage date", Day(), aliases=("接触日期", "start date")),
        Target("expectedCloseDate", "Expected close date", Day(), aliases=("预计成交日期",)),
        Target("closeDate", "Close date", Day(), aliases=("成交日期",)),
        Target("externalKey", "External key", Text(100), aliases=("编号", "opportunity id", "id")),
        Target("notes", "Notes", Text(10000, several_lines=True), aliases=("备注", "remark")),
    ),
    save=save_opportunities,
    resolvers={"customer": find_customers, "product": find_products, "person": find_people},
)
IMPORTS = Imports(PRODUCTS, OPPORTUNITIES)
