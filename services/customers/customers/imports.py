"""Importing customers and contacts from files."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlmodel import col

from chassis.custom_fields.given import COLUMN
from chassis.database import Transaction, shared_only
from chassis.errors import Invalid
from chassis.home import home_country_of
from chassis.imports.custom import refused_by
from chassis.imports.duplicates import Do, decided, lacking, twins
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
    unchanged,
    updated,
)
from chassis.imports.mapping import Target
from chassis.imports.owners import OWNER, owners_under
from chassis.imports.people import FIRST_NAME, LAST_NAME, whole_name
from chassis.imports.progress import ImportProgressed
from chassis.imports.rpc import Imports
from chassis.imports.values import (
    Amount,
    Choice,
    Country,
    Email,
    Listed,
    Number,
    Phone,
    Reference,
    Refused,
    Tags,
    Text,
)
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import covers, visible, visible_text
from customers.affiliation import writable_contact
from customers.contact import Contact, Entries, change_contact, introduce
from customers.custom_fields import CUSTOM_FIELDS
from customers.customer import (
    SHARES,
    SHARES_OF_CUSTOMER,
    Customer,
    change_customer,
    checked,
    enrolled,
)
from customers.errors import CustomerCircle, ImportGaveAway
from customers.ownership import assign_customers
from customers.profile import by_entries
from customers.taking_back import (
    dealt_with_contacts,
    dealt_with_customers,
    take_contact_back,
    take_customer_back,
)
from customers.value_lists import VALUE_LISTS

_KIND = Choice({"COMPANY": ("company", "公司", "企业"), "PERSON": ("person", "consumer", "个人")})
_SOURCE = Listed("source", {
    "WEB_FORM": ("web", "website", "网站"), "PHONE": ("call", "phone", "电话"), "EMAIL": ("mail", "email"),
    "ADVERTISEMENT": ("ad", "ads"), "SEARCH": ("搜索", "百度"), "SOCIAL_MEDIA": ("social",), "EXHIBITION": ("fair", "trade show"),
    "COLD_CALL": ("陌拜",), "PURCHASED_LIST": ("list",),
})  # fmt: skip
_STAGE = Listed("stage", {
    "PROSPECT": ("潜在", "prospective"), "ACTIVE": ("活跃", "customer"), "DORMANT": ("沉睡", "inactive"), 
    "LOST": ("流失", "churned"),
})  # fmt: skip
_ROLE = Choice({
    "DECIDER": ("决策者", "decision maker"), "INFLUENCER": ("影响者",), "USER": ("使用者", "end user"),
    "OPPONENT": ("反对者",),
})  # fmt: skip


async def save_customers(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New customers, or changes of those that are there already, as mode and duplicate policy say."""
    found = await twins(tx, Customer, "customers", rows, options)
    out: list[Outcome] = []
    # What is changed may have been made by a row above.
    async with nullcontext() if options.changes else tx.in_bulk():
        for row in rows:
            values = row.values
            todo = decided(options, found.keyed(values), found.alike(values), values)
            if isinstance(todo, Outcome):
                out.append(todo)
                continue
            if todo[1] is not None:
                out.append(await _changed(tx, todo[1], values, fill=todo[0] is Do.FILL))
                found.note(values, todo[1])
                continue
            try:
                columns = await checked(tx, _customer_columns(values))
            except Invalid as problem:
                out.append(refused_by(problem))
                continue
            customer = enrolled(tx, columns, values.get("owner", options.owner(tx.who)))
            found.note(values, customer.id)
            out.append(created(customer.id))
    return out


async def _changed(tx: Transaction, id: UUID, values: dict[str, Any], *, fill: bool) -> Outcome:
    """Makes a customer that is there what the row says, or, to `fill` it, only where it says nothing; what the row leaves empty
    stays."""
    await tx.session.flush()
    customer = await tx.get(Customer, id, right="customers")
    version = customer.version
    owner = None if fill and customer.owner_id else values.get("owner")
    gives_away = owner is not None and owner.person_id != customer.owner_id
    # What is refused changes nothing: it is asked before the rest is written.
    if gives_away and not covers(customer, tx.who, "customers", Act.WRITE, shares=False):
        only = shared_only("customer")
        return refused(only.reason, only.message, "owner")
    given = _customer_columns(values)
    if fill:
        given = lacking(customer, given)
    elif "address" in given:
        given["address"] = {**customer.address, **given["address"]}
    try:
        await change_customer(tx, customer, given)
    except Invalid as problem:
        return refused_by(problem)
    except CustomerCircle as problem:
        return refused(problem.reason, problem.message, "parent")
    if owner is not None:
        await assign_customers(tx, [customer], owner)
    await tx.session.flush()
    return unchanged(id) if customer.version == version else updated(id)


async def _change_customer_back(tx: Transaction, customer: Customer, values: dict[str, Any]) -> None:
    """Gives a customer the values it had before an import. Raises ImportGaveAway when the import has given it to somebody, and
    with it its contacts."""
    if values.keys() & {"owner_id", "team_id"}:
        raise ImportGaveAway
    await change_customer(tx, customer, by_entries(customer, values))


async def _change_contact_back(tx: Transaction, contact: Contact, values: dict[str, Any]) -> None:
    await change_contact(tx, contact, by_entries(contact, values))


_NAMES = {
    "displayName": "display_name", "industry": "industry", "region": "region", "level": "level", "phone": "phone",
    "email": "email", "website": "website", "kind": "kind", "externalKey": "external_key", "notes": "notes", "tags": "tags",
    "parent": "parent_customer_id", "size": "size", "stage": "stage", "source": "source", "taxNumber": "tax_number",
    "registrationNumber": "registration_number", "needs": "needs",
}  # fmt: skip
_ADDRESS = {
    "countryCode": "country_code", "province": "province", "city": "city", "district": "district", "street": "street",
    "postalCode": "postal_code",
}  # fmt: skip


def _customer_columns(values: dict[str, Any]) -> dict[str, Any]:
    columns = {column: values[name] for name, column in _NAMES.items() if name in values}
    for name, column in (("employeeCount", "employee_count"), ("yearEstablished", "year_established")):
        if name in values:
            columns[column] = int(values[name])
    if "annualRevenue" in values:
        columns["annual_revenue"] = values["annualRevenue"].minor
        columns["annual_revenue_currency"] = values["annualRevenue"].currency
    address = {part: values[name] for name, part in _ADDRESS.items() if name in values}
    if address:
        columns["address"] = address
    if COLUMN in values:
        columns[COLUMN] = values[COLUMN]
    return columns


async def find_customers(call: Call, names: Sequence[str]) -> dict[str, Found | Refused]:
    """Customers by name, with case and spaces set aside where that leaves no doubt, among those that the person who imports
    may see."""
    rule, reach = visible_text(call.who, "customers", Act.READ, "owner_id", "team_id", first=2, shares=SHARES)
    rows = await call.database.read(
        call.who,
        "SELECT t.display_name, t.id FROM customers_named($1::text[]) n JOIN customers t ON t.id = n.id"  # noqa: S608 (the rule of visibility has places for its values)
        " WHERE t.deleted_at IS NULL AND " + rule,
        [name.replace(" ", "").lower() for name in names],
        *reach,
    )
    return dict(by_name(names, [(row["display_name"], row["id"]) for row in rows], "customer"))


async def save_contacts(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New contacts of customers found by name, or changes of those that are there already. Contacts are alike that have a phone
    or an e-mail address in common at the same customer."""
    found = await twins(tx, Contact, "customers", rows, replace(options, duplicates=""))
    there = await _reached_at(tx, rows) if options.duplicates else {}
    out: list[Outcome] = []
    for row in rows:
        values = row.values
        customer_id: UUID = values["customer"]
        alike = next(
            (
                (there[key], name)
                for name in ("email", "phone")
                if (key := (customer_id, str(values.get(name, "")))) in there
            ),
            None,
        )
        todo = decided(options, found.keyed(values), alike, values)
        if isinstance(todo, Outcome):
            out.append(todo)
            continue
        if not _name(values):
            out.append(refused("REQUIRED", "a contact needs a name", "displayName"))
            continue
        if todo[1] is not None:
            out.append(await _changed_contact(tx, todo[1], values, fill=todo[0] is Do.FILL))
            there |= {(customer_id, values[name]): todo[1] for name in ("email", "phone") if values.get(name)}
            continue
        customer = await tx.get(Customer, customer_id, right="customers")
        try:
            contact = await introduce(tx, customer, _contact_columns(values))
        except Invalid as problem:
            out.append(refused_by(problem))
            continue
        found.note(values, contact.id)
        there |= {(customer_id, values[name]): contact.id for name in ("email", "phone") if values.get(name)}
        out.append(created(contact.id))
    return out


async def _reached_at(tx: Transaction, rows: list[ImportRow]) -> dict[tuple[UUID, str], UUID]:
    """The contacts of these customers by customer and each of their phones and e-mail addresses, as far as the person who
    imports may read them."""
    ids = {row.values["customer"] for row in rows}
    read = await tx.session.execute(
        select(Contact)
        .where(
            col(Contact.customer_id).in_(ids), col(Contact.deleted_at).is_(None),
            visible(Contact, tx.who, "customers", Act.READ, shares=SHARES_OF_CUSTOMER),
        )
        .order_by(col(Contact.id).desc())
    )  # fmt: skip
    found: dict[tuple[UUID, str], UUID] = {}
    for contact in read.scalars():
        values = [*(one["number"] for one in contact.phones), *(one["address"] for one in contact.emails)]
        for value in values:
            found[contact.customer_id, value] = contact.id  # of several the oldest
    return found


async def _changed_contact(tx: Transaction, id: UUID, values: dict[str, Any], *, fill: bool) -> Outcome:
    await tx.session.flush()
    contact = await writable_contact(tx, id)
    version = contact.version
    given = _contact_columns(values)
    for name, key in (("phones", "number"), ("emails", "address")):
        # A row knows one of them; the others stay behind it.
        old: Entries = getattr(contact, name)
        fresh = [one for one in given.get(name, []) if all(one[key] != there[key] for there in old)]
        given[name] = [*old, *fresh] if fill else [*fresh, *old]
    if fill:
        given = {name: given[name] for name in ("phones", "emails")} | lacking(contact, given)
    try:
        await change_contact(tx, contact, given)
    except Invalid as problem:
        return refused_by(problem)
    await tx.session.flush()
    return unchanged(id) if contact.version == version else updated(id)


def _name(values: dict[str, Any]) -> str:
    return str(values.get("displayName") or whole_name(values))


def _contact_columns(values: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {"display_name": _name(values)}
    for name, column in (
        ("title", "title"),
        ("department", "department"),
        ("decisionRole", "decision_role"),
        ("notes", "notes"),
        ("externalKey", "external_key"),
    ):
        if name in values:
            columns[column] = values[name]
    columns["phones"] = [{"label": "", "number": values["phone"]}] if "phone" in values else []
    columns["emails"] = [{"label": "", "address": values["email"]}] if "email" in values else []
    if COLUMN in values:
        columns[COLUMN] = values[COLUMN]
    return columns


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
        OWNER,
        Target("industry", "Industry", Listed("industry"), aliases=("行业", "sector")),
        Target("size", "Size", Listed("size"), aliases=("规模", "company size")),
        Target("region", "Region", Listed("region"), aliases=("地区", "区域", "office location")),
        Target("level", "Level", Listed("level"), aliases=("等级", "级别", "客户级别", "rating")),
        Target("stage", "Stage", _STAGE, aliases=("阶段", "关系阶段", "客户阶段", "relationship stage")),
        Target("source", "Source", _SOURCE, aliases=("来源", "客户来源", "lead source")),
        Target("phone", "Phone", Phone(), aliases=("电话", "手机", "mobile")),
        Target("email", "E-mail", Email(), aliases=("邮箱", "电子邮件", "email", "email address")),
        Target("website", "Website", Text(2048), aliases=("网站", "网址", "url", "domain name")),
        Target("countryCode", "Country", Country(), aliases=("国家", "billing country", "country code")),
        Target("province", "Province", Text(100), aliases=("省份", "省", "state", "billing state")),
        Target("city", "City", Text(100), aliases=("城市", "市", "billing city")),
        Target("district", "District", Text(100), aliases=("区县", "区")),
        Target("street", "Street", Text(300), aliases=("地址", "详细地址", "address", "billing street")),
        Target(
            "postalCode", "Postal code", Text(20), aliases=("邮编", "邮政编码", "zip", "billing postal code")
        ),
        Target("employeeCount", "Employees", Number(), aliases=("员工人数", "employees")),
        Target("yearEstablished", "Year established", Number(), aliases=("成立年份", "year established")),
        Target("annualRevenue", "Annual revenue", Amount(), aliases=("年收入", "revenue", "arr")),
        Target(
            "parent",
            "Parent",
            Reference("customer", "customer"),
            aliases=("母公司", "subsidiary of", "parent account"),
        ),
        Target(
            "taxNumber",
            "Tax number",
            Text(50),
            aliases=("税号", "统一社会信用代码", "纳税人识别号", "vat number", "tax id"),
        ),
        Target("registrationNumber", "Registration number", Text(50), aliases=("注册号", "工商注册号")),
        Target("needs", "Needs", Text(10000, several_lines=True), aliases=("需求", "客户需求")),
        Target("tags", "Tags", Tags(), aliases=("标签",)),
        Target("externalKey", "External key", Text(100), aliases=("编号", "id", "external id")),
        Target("notes", "Notes", Text(10000, several_lines=True), aliases=("备注", "description", "描述")),
    ),
    save=save_customers,
    custom_fields=CUSTOM_FIELDS,
    value_lists=VALUE_LISTS,
    country=home_country_of,
    resolvers={"customer": find_customers, **owners_under("customers")},
    undo=Undo(Customer, take_customer_back, _change_customer_back, dealt_with_customers),
    progressed=ImportProgressed,
)
CONTACTS = Importer(
    record_type="contact",
    right="customers",
    targets=(
        Target("displayName", "Name", Text(200), aliases=("姓名", "联系人", "full name")),
        LAST_NAME,
        FIRST_NAME,
        Target(
            "customer",
            "Customer",
            Reference("customer", "customer"),
            aliases=("客户", "公司", "account", "company"),
            required=True,
        ),
        Target("title", "Title", Text(100), aliases=("职位", "职务", "job title", "job position")),
        Target("department", "Department", Text(100), aliases=("部门",)),
        Target("decisionRole", "Decision role", _ROLE, aliases=("决策角色", "角色", "role")),
        Target("phone", "Phone", Phone(), aliases=("电话", "手机", "mobile")),
        Target("email", "E-mail", Email(), aliases=("邮箱", "电子邮件", "email", "email address")),
        Target("externalKey", "External key", Text(100), aliases=("编号", "id", "external id")),
        Target("notes", "Notes", Text(10000, several_lines=True), aliases=("备注", "description", "描述")),
    ),
    save=save_contacts,
    custom_fields=CUSTOM_FIELDS,
    country=home_country_of,
    resolvers={"customer": find_customers},
    undo=Undo(Contact, take_contact_back, _change_contact_back, dealt_with_contacts),
    progressed=ImportProgressed,
)
IMPORTS = Imports(CUSTOMERS, CONTACTS)
