"""Importing customers and contacts from files."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.imports.importer import Found, Importer, ImportRow, Options, Outcome, by_name, created, refused
from chassis.imports.mapping import Target
from chassis.imports.rpc import Imports
from chassis.imports.values import Amount, Choice, Number, Phone, Reference, Refused, Tags, Text
from chassis.rpc import Call
from customers.contact import introduce
from customers.customer import Customer, enrolled

_KIND = Choice({"COMPANY": ("company", "公司", "企业"), "PERSON": ("person", "consumer", "个人")})
_LEVEL = Choice({"A": (), "B": (), "C": (), "D": ()})


async def save_customers(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New customers. A row whose external key is taken is refused."""
    keys = [row.values["externalKey"] for row in rows if row.values.get("externalKey")]
    found = await tx.session.execute(
        text("SELECT external_key FROM customers WHERE external_key = ANY(:keys) AND deleted_at IS NULL"),
        {"keys": keys},
    )
    taken = {row.external_key for row in found}
    out: list[Outcome] = []
    async with tx.in_bulk():
        for row in rows:
            values = row.values
            key = values.get("externalKey", "")
            if key and key in taken:
                out.append(refused("EXTERNAL_KEY_TAKEN", f"{key} is there already", "externalKey"))
                continue
            taken.add(key)
            customer = enrolled(tx, _customer_columns(values), options.owner(tx.who))
            out.append(created(customer.id))
    return out


_NAMES = {
    "displayName": "display_name", "industry": "industry", "region": "region", "level": "level", "phone": "phone",
    "email": "email", "website": "website", "kind": "kind", "externalKey": "external_key", "notes": "notes", "tags": "tags",
    "parent": "parent_customer_id",
}  # fmt: skip


def _customer_columns(values: dict[str, Any]) -> dict[str, Any]:
    columns = {column: values[name] for name, column in _NAMES.items() if name in values}
    for name, column in (("employeeCount", "employee_count"), ("yearEstablished", "year_established")):
        if name in values:
            columns[column] = int(values[name])
    if "annualRevenue" in values:
        columns["annual_revenue"] = values["annualRevenue"].minor
        columns["annual_revenue_currency"] = values["annualRevenue"].currency
    return columns


async def find_customers(call: Call, names: Sequence[str]) -> dict[str, Found | Refused]:
    """Customers by name, with case and spaces set aside where that leaves no doubt."""
    rows = await call.database.read(
        call.who,
        "SELECT display_name, id FROM customers WHERE deleted_at IS NULL"
        " AND lower(replace(display_name, ' ', '')) = ANY($1::text[])",
        [name.replace(" ", "").lower() for name in names],
    )
    return dict(by_name(names, [(row["display_name"], row["id"]) for row in rows], "customer"))


async def save_contacts(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New contacts of customers found by name."""
    out: list[Outcome] = []
    for row in rows:
        values = row.values
        id: UUID = values["customer"]
        customer = await tx.get(Customer, id, right="customers")
        columns: dict[str, Any] = {"display_name": values["displayName"]}
        for name in ("title", "department", "notes"):
            if name in values:
                columns[name] = values[name]
        columns["phones"] = [{"label": "", "number": values["phone"]}] if "phone" in values else []
        columns["emails"] = [{"label": "", "address": values["email"]}] if "email" in values else []
        contact = await introduce(tx, customer, columns)
        out.append(created(contact.id))
    return out


CUSTOMERS = Importer(
    record_type="customer",
    right="customers",
    targets=(
        Target(
            "displayName",
            "Name",
            Text(200),
            aliases=("名称", "客户名称", "公司名称", "account", "company"),
            required=True,
        ),
        Target("kind", "Kind", _KIND, aliases=("类型",)),
        Target("industry", "Industry", Text(100), aliases=("行业", "sector")),
        Target("region", "Region", Text(100), aliases=("地区", "office location", "country")),
        Target("level", "Level", _LEVEL, aliases=("等级", "级别")),
        Target("phone", "Phone", Phone(), aliases=("电话", "手机", "mobile")),
        Target("email", "E-mail", Text(254), aliases=("邮箱", "email")),
        Target("website", "Website", Text(2048), aliases=("网站", "url")),
        Target("employeeCount", "Employees", Number(), aliases=("员工人数", "employees")),
        Target("yearEstablished", "Year established", Number(), aliases=("成立年份", "year established")),
        Target("annualRevenue", "Annual revenue", Amount(), aliases=("年收入", "revenue")),
        Target("parent", "Parent", Reference("customer", "customer"), aliases=("母公司", "subsidiary of")),
        Target("tags", "Tags", Tags(), aliases=("标签",)),
        Target("externalKey", "External key", Text(100), aliases=("编号", "id")),
        Target("notes", "Notes", Text(10000), aliases=("备注",)),
    ),
    save=save_customers,
    resolvers={"customer": find_customers},
)
CONTACTS = Importer(
    record_type="contact",
    right="customers",
    targets=(
        Target("displayName", "Name", Text(200), aliases=("姓名", "联系人"), required=True),
        Target(
            "customer",
            "Customer",
            Reference("customer", "customer"),
            aliases=("客户", "公司", "account"),
            required=True,
        ),
        Target("title", "Title", Text(100), aliases=("职位", "职务")),
        Target("department", "Department", Text(100), aliases=("部门",)),
        Target("phone", "Phone", Phone(), aliases=("电话", "手机", "mobile")),
        Target("email", "E-mail", Text(254), aliases=("邮箱", "email")),
        Target("notes", "Notes", Text(10000), aliases=("备注",)),
    ),
    save=save_contacts,
    resolvers={"customer": find_customers},
)
IMPORTS = Imports(CUSTOMERS, CONTACTS)
