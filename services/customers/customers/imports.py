"""Importing customers and contacts from files."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.custom_fields.definitions import taken
from chassis.custom_fields.given import COLUMN
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.imports.custom import refused_by
from chassis.imports.importer import (
    Found,
    Importer,
    ImportRow,
    Options,
    Outcome,
    by_name,
    created,
    refused,
    unchanged,
    updated,
)
from chassis.imports.mapping import Target
from chassis.imports.rpc import Imports
from chassis.imports.values import Amount, Choice, Email, Number, Phone, Reference, Refused, Tags, Text
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import visible_text
from customers.contact import Contact, introduce
from customers.custom_fields import CUSTOM_FIELDS
from customers.customer import Customer, change_customer, checked, enrolled
from customers.errors import CustomerCircle

_KIND = Choice({"COMPANY": ("company", "公司", "企业"), "PERSON": ("person", "consumer", "个人")})
_LEVEL = Choice({"A": (), "B": (), "C": (), "D": ()})


async def save_customers(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New customers; with UPSERT, the one that has the external key already is changed. A row whose key is taken otherwise is
    refused."""
    keys = [row.values["externalKey"] for row in rows if row.values.get("externalKey")]
    found = await tx.session.execute(
        text("SELECT id, external_key FROM customers WHERE external_key = ANY(:keys) AND deleted_at IS NULL"),
        {"keys": keys},
    )
    there: dict[str, UUID] = {row.external_key: row.id for row in found}
    out: list[Outcome] = []
    # What is changed may have been made by a row above.
    async with nullcontext() if options.upsert else tx.in_bulk():
        for row in rows:
            values = row.values
            key = values.get("externalKey", "")
            if key in there:
                out.append(
                    await _changed(tx, there[key], values)
                    if options.upsert
                    else refused("EXTERNAL_KEY_TAKEN", f"{key} is there already", "externalKey")
                )
                continue
            try:
                columns = await checked(tx, _customer_columns(values))
            except Invalid as problem:
                out.append(refused_by(problem))
                continue
            customer = enrolled(tx, columns, options.owner(tx.who))
            if key:
                there[key] = customer.id
            out.append(created(customer.id))
    return out


async def _changed(tx: Transaction, id: UUID, values: dict[str, Any]) -> Outcome:
    """Makes a customer that is there what the row says; what the row leaves empty stays."""
    await tx.session.flush()
    customer = await tx.get(Customer, id, right="customers")
    version = customer.version
    try:
        await change_customer(tx, customer, _customer_columns(values))
    except Invalid as problem:
        return refused_by(problem)
    except CustomerCircle as problem:
        return refused(problem.reason, problem.message, "parent")
    await tx.session.flush()
    return unchanged(id) if customer.version == version else updated(id)


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
    if COLUMN in values:
        columns[COLUMN] = values[COLUMN]
    return columns


async def find_customers(call: Call, names: Sequence[str]) -> dict[str, Found | Refused]:
    """Customers by name, with case and spaces set aside where that leaves no doubt, among those that the person who imports
    may see."""
    rule, reach = visible_text(call.who, "customers", Act.READ, "owner_id", "team_id", first=2)
    rows = await call.database.read(
        call.who,
        "SELECT t.display_name, t.id FROM customers t WHERE t.deleted_at IS NULL"  # noqa: S608 (the rule of visibility has places for its values)
        " AND lower(replace(t.display_name, ' ', '')) = ANY($1::text[]) AND " + rule,
        [name.replace(" ", "").lower() for name in names],
        *reach,
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
        if COLUMN in values:
            columns[COLUMN] = values[COLUMN]
        try:
            columns = await taken(tx, Contact.record_type, columns)
        except Invalid as problem:
            out.append(refused_by(problem))
            continue
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
        Target("email", "E-mail", Email(), aliases=("邮箱", "email")),
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
    custom_fields=CUSTOM_FIELDS,
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
        Target("email", "E-mail", Email(), aliases=("邮箱", "email")),
        Target("notes", "Notes", Text(10000), aliases=("备注",)),
    ),
    save=save_contacts,
    custom_fields=CUSTOM_FIELDS,
    resolvers={"customer": find_customers},
)
IMPORTS = Imports(CUSTOMERS, CONTACTS)
