"""Importing customers and contacts from files."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col

from chassis.custom_fields.given import COLUMN
from chassis.database import Database, Transaction, shared_only
from chassis.errors import Denied, Invalid, Problem
from chassis.home import home_country_of
from chassis.imports.custom import refused_by
from chassis.imports.duplicates import Do, Further, decided, lacking, said, twins
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
    Day,
    Email,
    Flag,
    Listed,
    Number,
    Phone,
    Reference,
    Refused,
    Tags,
    Text,
)
from chassis.principal import Act, Principal
from chassis.rpc import Call
from chassis.texts import email, same
from chassis.visibility import covers, visible, visible_text
from customers.affiliation import customer_for, join, writable_contact
from customers.contact import Contact, change_contact, introduce
from customers.custom_fields import CUSTOM_FIELDS
from customers.customer import (
    SHARES,
    SHARES_OF_CUSTOMER,
    Customer,
    change_customer,
    enrolled,
    fresh,
)
from customers.errors import (
    ContactCircle,
    CustomerCircle,
    ImportGaveAway,
    TooManyAffiliations,
    customer_not_found,
    superior_not_found,
)
from customers.ownership import assign_customers
from customers.profile import CONTACT_WAYS, CUSTOMER_WAYS, Reached, Way, by_entries
from customers.reached_in_files import (
    ACCOUNT,
    address_in,
    address_targets,
    affiliations_in,
    entries_in,
    targets,
)
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


_FURTHER = {
    "phone": Further("otherPhones", "other_phones", "number"),
    "email": Further("otherEmails", "other_emails", "address"),
}


async def save_customers(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New customers, or changes of those that are there already, as mode and duplicate policy say."""
    found = await twins(tx, Customer, "customers", rows, options, _FURTHER)
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
                columns = await fresh(
                    tx, _with_entries(None, CUSTOMER_WAYS, values, _customer_columns(values), fill=False)
                )
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
    given = _with_entries(customer, CUSTOMER_WAYS, values, given, fill=fill)
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
    "displayName": "display_name", "type": "type", "industry": "industry", "region": "region", "level": "level", "phone": "phone",
    "email": "email", "website": "website", "kind": "kind", "externalKey": "external_key", "notes": "notes", "tags": "tags",
    "parent": "parent_customer_id", "size": "size", "stage": "stage", "source": "source", "taxNumber": "tax_number",
    "registrationNumber": "registration_number", "needs": "needs",
}  # fmt: skip


def _with_entries(
    record: Reached | None,
    ways: Sequence[Way],
    values: dict[str, Any],
    columns: dict[str, Any],
    *,
    fill: bool,
) -> dict[str, Any]:
    """The columns with whole lists of ways to reach somebody in place of the primary values alone, where a row says more."""
    entries = entries_in(record, ways, values, fill=fill)
    single = {way.single for way in ways if way.name in entries}
    return {name: value for name, value in columns.items() if name not in single} | entries


def _customer_columns(values: dict[str, Any]) -> dict[str, Any]:
    columns = {column: values[name] for name, column in _NAMES.items() if name in values}
    for name, column in (("employeeCount", "employee_count"), ("yearEstablished", "year_established")):
        if name in values:
            columns[column] = int(values[name])
    if "annualRevenue" in values:
        columns["annual_revenue"] = values["annualRevenue"].minor
        columns["annual_revenue_currency"] = values["annualRevenue"].currency
    if address := address_in(values):
        columns["address"] = address
    if COLUMN in values:
        columns[COLUMN] = values[COLUMN]
    return columns


async def find_customers(call: Call, names: Sequence[str]) -> dict[str, Found | Refused]:
    """Customers by name, with case and spaces set aside where that leaves no doubt, among those that the person who imports
    may see."""
    return await _customers_named(call.database, call.who, names)


async def _customers_named(
    database: Database, who: Principal, names: Sequence[str]
) -> dict[str, Found | Refused]:
    rule, reach = visible_text(who, "customers", Act.READ, "owner_id", "team_id", first=2, shares=SHARES)
    rows = await database.read(
        who,
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
    belonging: list[tuple[int, UUID, dict[str, Any]]] = []
    for place, row in enumerate(rows):
        values = row.values
        customer_id: UUID | None = values.get("customer")  # an update may leave it out
        alike = next(
            (
                (there[customer_id, value], name)
                for name in ("email", "phone")
                for value in said(values, name, _FURTHER)
                if customer_id and (customer_id, value) in there
            ),
            None,
        )
        todo = decided(options, found.keyed(values), alike, values)
        if isinstance(todo, Outcome):
            out.append(todo)
            continue
        if not _name(values) and options.creates:
            out.append(refused("REQUIRED", "a contact needs a name", "displayName"))
            continue
        if todo[1] is not None:
            id = todo[1]
            out.append(await _changed_contact(tx, id, values, fill=todo[0] is Do.FILL))
            belonging.append((place, id, values))
            if customer_id:
                there |= {(customer_id, value): id for value in _ways_in(values)}
            continue
        # Whoever makes new ones has said of which customer.
        customer = await tx.get(Customer, values["customer"], right="customers")
        try:
            columns = _with_entries(None, CONTACT_WAYS, values, _contact_columns(values), fill=False)
            contact = await introduce(tx, customer, columns)
        except Invalid as problem:
            out.append(refused_by(problem))
            continue
        found.note(values, contact.id)
        there |= {(customer.id, value): contact.id for value in _ways_in(values)}
        out.append(created(contact.id))
        belonging.append((place, contact.id, values))
    # Whom they report to may stand in a row below them.
    for place, id, values in belonging:
        if out[place].kind != "refused" and values.keys() & {"reportsTo", "affiliations"}:
            out[place] = await _placed(tx, out[place], id, values)
    return out


def _ways_in(values: dict[str, Any]) -> list[str]:
    return [value for name in ("email", "phone") for value in said(values, name, _FURTHER)]


async def _placed(tx: Transaction, outcome: Outcome, id: UUID, values: dict[str, Any]) -> Outcome:
    """Puts a contact where the row says it belongs. What cannot be done is noted in the outcome, and left."""
    await tx.session.flush()
    contact = await writable_contact(tx, id)
    version = contact.version
    if "reportsTo" in values:
        try:
            superior = await _superior(tx, contact.customer_id, id, values["reportsTo"])
            await change_contact(tx, contact, {"reports_to_id": superior})
        except (Invalid, ContactCircle) as problem:
            outcome = outcome.repaired("reportsTo", _said(problem), problem.reason)
    entries = affiliations_in(values.get("affiliations", ""))
    found = (
        await _customers_named(tx.database, tx.who, [one["customer"] for one in entries]) if entries else {}
    )
    for one in entries:
        try:
            named = found.get(one["customer"])
            if not isinstance(named, Found):
                raise customer_not_found("affiliations", one["customer"])
            customer = await customer_for(tx, named.value, "affiliations")
            what: dict[str, Any] = {name: one[name] for name in ("title", "department")}
            what["decision_role"] = _ROLE.read(one["decision_role"]).value if one["decision_role"] else ""
            above = one["superior"]
            what["reports_to_id"] = await _superior(tx, customer.id, id, above) if above else None
            await join(tx, contact, customer, what, primary=False, writes=True)
        except (Invalid, Denied, ContactCircle, TooManyAffiliations) as problem:
            outcome = outcome.repaired("affiliations", _said(problem), problem.reason)
        except Refused as problem:
            outcome = outcome.repaired("affiliations", problem.message, problem.reason)
    await tx.session.flush()
    return (
        replace(outcome, kind="updated")
        if outcome.kind == "unchanged" and contact.version != version
        else outcome
    )


def _said(problem: Problem) -> str:
    return problem.violations[0].description if problem.violations else problem.message


_AT_CUSTOMER = text(
    "SELECT id, display_name, emails FROM contacts WHERE deleted_at IS NULL AND id <> :id AND (customer_id = :customer"
    " OR id IN (SELECT contact_id FROM contact_affiliations WHERE customer_id = :customer))"
).columns(id=Uuid, emails=JSONB)


async def _superior(tx: Transaction, customer_id: UUID, id: UUID, named: str) -> UUID:
    """The other contact of that customer with this e-mail address or name. Raises Invalid (SUPERIOR_NOT_FOUND) unless there is
    one."""
    others = (await tx.session.execute(_AT_CUSTOMER, {"id": id, "customer": customer_id})).all()
    address = email(named)
    fits = [one.id for one in others if any(entry["address"] == address for entry in one.emails)]
    fits = fits or [one.id for one in others if same(one.display_name) == same(named)]
    if len(fits) != 1:
        raise superior_not_found("reportsTo")
    return fits[0]


async def _reached_at(tx: Transaction, rows: list[ImportRow]) -> dict[tuple[UUID, str], UUID]:
    """The contacts of these customers by customer and each of their phones and e-mail addresses, as far as the person who
    imports may read them."""
    ids = {row.values["customer"] for row in rows if "customer" in row.values}
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
    if fill:
        given = lacking(contact, given)
    given = _with_entries(contact, CONTACT_WAYS, values, given, fill=fill)
    try:
        await change_contact(tx, contact, given)
    except Invalid as problem:
        return refused_by(problem)
    await tx.session.flush()
    outcome = unchanged(id) if contact.version == version else updated(id)
    if values.get("customer", contact.customer_id) == contact.customer_id:
        return outcome
    said = "the contact stays with its customer: further ones stand in 'affiliations'"
    return outcome.repaired("customer", said, "CUSTOMER_KEPT")


def _name(values: dict[str, Any]) -> str:
    return str(values.get("displayName") or whole_name(values))


def _contact_columns(values: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if name := _name(values):
        columns["display_name"] = name
    for name, column in (
        ("title", "title"),
        ("department", "department"),
        ("decisionRole", "decision_role"),
        ("notes", "notes"),
        ("externalKey", "external_key"),
        ("birthday", "birthday"),
        ("primary", "primary"),
    ):
        if name in values:
            columns[column] = values[name]
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
        Target(
            "type", "Type", Listed("type"), aliases=("客户类型", "客户分类", "account type", "customer type")
        ),
        Target("industry", "Industry", Listed("industry"), aliases=("行业", "sector")),
        Target("size", "Size", Listed("size"), aliases=("规模", "company size")),
        Target("region", "Region", Listed("region"), aliases=("地区", "区域", "office location")),
        Target("level", "Level", Listed("level"), aliases=("等级", "级别", "客户级别", "rating")),
        Target("stage", "Stage", _STAGE, aliases=("阶段", "关系阶段", "客户阶段", "relationship stage")),
        Target("source", "Source", _SOURCE, aliases=("来源", "客户来源", "lead source")),
        Target("phone", "Phone", Phone(), aliases=("电话", "手机", "mobile")),
        Target("email", "E-mail", Email(), aliases=("邮箱", "电子邮件", "email", "email address")),
        Target("website", "Website", Text(2048), aliases=("网站", "网址", "url", "domain name")),
        ACCOUNT,
        *address_targets(),
        *targets("phones", "emails", "addresses", "accounts"),
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
        Target(
            "reportsTo",
            "Reports to",
            Text(254),
            aliases=("上级", "汇报对象", "manager", "supervisor"),
            description="Name or e-mail address of another contact of the same customer.",
        ),
        Target(
            "affiliations",
            "Further customers",
            Text(5000),
            aliases=("其他客户",),
            description="Customer / title / department / role / superior, separated by semicolons.",
        ),
        Target("phone", "Phone", Phone(), aliases=("电话", "手机", "mobile")),
        Target("email", "E-mail", Email(), aliases=("邮箱", "电子邮件", "email", "email address")),
        ACCOUNT,
        *address_targets(),
        *targets("phones", "emails", "addresses", "accounts"),
        Target("birthday", "Birthday", Day(), aliases=("生日", "出生日期", "birth date", "date of birth")),
        Target("primary", "Primary", Flag(), aliases=("首要联系人", "主要联系人", "primary contact")),
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
