"""Customers and contacts as files."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from chassis.exports.columns import CREATE_TIME, RECORD_ID, Amount, Choice, Column, Derived, Listed, Reference
from chassis.exports.rpc import Exporter, Exports
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import visible_text
from customers import imports
from customers.contact import Entries
from customers.customer import SHARES
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS
from customers.value_lists import VALUE_LISTS

_KINDS = {"COMPANY": ("Company", "企业"), "PERSON": ("Person", "个人")}
_ROLES = {
    "DECIDER": ("Decider", "决策者"), "INFLUENCER": ("Influencer", "影响者"), "USER": ("User", "使用者"),
    "OPPONENT": ("Opponent", "反对者"),
}  # fmt: skip


_ADDRESS = (
    ("countryCode", "Country", "国家", "country_code"), ("province", "Province", "省份", "province"),
    ("city", "City", "城市", "city"), ("district", "District", "区县", "district"), ("street", "Street", "地址", "street"),
    ("postalCode", "Postal code", "邮编", "postal_code"),
)  # fmt: skip


async def _names(call: Call, ids: Sequence[UUID]) -> Mapping[UUID, str]:
    """The names of customers that the caller may see."""
    rule, reach = visible_text(call.who, "customers", Act.READ, "owner_id", "team_id", first=2, shares=SHARES)
    rows = await call.database.read(
        call.who,
        "SELECT t.id, t.display_name FROM customers t WHERE t.deleted_at IS NULL AND t.id = ANY($1::uuid[]) AND "  # noqa: S608 (the rule of visibility has places for its values)
        + rule,
        list(ids),
        *reach,
    )
    return {row["id"]: row["display_name"] for row in rows}


def _known(number: int) -> int | None:
    """What is nought was never said."""
    return number or None


def _part(key: str) -> Callable[[Mapping[str, str]], str | None]:
    return lambda address: address.get(key)


def _first(key: str) -> Callable[[Entries], str | None]:
    return lambda entries: entries[0][key] if entries else None


def _others(key: str) -> Callable[[Entries], list[str]]:
    return lambda entries: [entry[key] for entry in entries[1:]]


EXPORTS = Exports(
    Exporter(
        CUSTOMERS,
        "Customers",
        "客户",
        (
            Column("displayName", "Name", "客户名称", "display_name"),
            Choice("kind", "Kind", "类型", "kind", _KINDS),
            Listed("industry", "Industry", "行业", "industry", "industry"),
            Listed("size", "Size", "规模", "size", "size"),
            Listed("region", "Region", "地区", "region", "region"),
            Listed("level", "Level", "等级", "level", "level"),
            Listed("stage", "Stage", "阶段", "stage", "stage"),
            Listed("source", "Source", "来源", "source", "source"),
            Column("phone", "Phone", "电话", "phone"),
            Column("email", "E-mail", "邮箱", "email"),
            Column("website", "Website", "网站", "website"),
            Derived("employeeCount", "Employees", "员工人数", "employee_count", _known),
            Derived("yearEstablished", "Year established", "成立年份", "year_established", _known),
            Amount("annualRevenue", "Annual revenue", "年收入", "annual_revenue"),
            Reference("parent", "Parent", "母公司", "parent_customer_id", kind="customer"),
            Column("registrationNumber", "Registration number", "注册号", "registration_number"),
            Column("tags", "Tags", "标签", "tags"),
            Column("taxNumber", "Tax number", "税号", "tax_number"),
            *(Derived(name, en, zh, "address", _part(key)) for name, en, zh, key in _ADDRESS),
            Column("needs", "Needs", "需求", "needs"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            Column("externalKey", "External key", "编号", "external_key"),
            Column("notes", "Notes", "备注", "notes"),
            CREATE_TIME,
            Column("lastContactTime", "Last contact", "最近联系时间", "last_contact_time"),
            Column("nextContactTime", "Next contact", "下次联系时间", "next_contact_time"),
            Column("lastDealTime", "Last deal", "最近成交时间", "last_deal_time"),
            Column("lastServiceTime", "Last service", "最近服务时间", "last_service_time"),
            RECORD_ID,
        ),
        names={"customer": _names},
        importer=imports.CUSTOMERS,
        value_lists=VALUE_LISTS,
    ),
    Exporter(
        CONTACTS,
        "Contacts",
        "联系人",
        (
            Column("displayName", "Name", "姓名", "display_name"),
            Reference("customer", "Customer", "客户", "customer_id", kind="customer"),
            Column("title", "Title", "职位", "title"),
            Column("department", "Department", "部门", "department"),
            Choice("decisionRole", "Decision role", "决策角色", "decision_role", _ROLES),
            Derived("phone", "Phone", "电话", "phones", _first("number")),
            Derived("otherPhones", "Further phones", "其余电话", "phones", _others("number")),
            Derived("email", "E-mail", "邮箱", "emails", _first("address")),
            Derived("otherEmails", "Further e-mails", "其余邮箱", "emails", _others("address")),
            Column("imAccount", "Messaging account", "即时通讯账号", "im_account"),
            Column("birthday", "Birthday", "生日", "birthday"),
            Column("primary", "Primary", "首要联系人", "primary"),
            Column("externalKey", "External key", "编号", "external_key"),
            Column("notes", "Notes", "备注", "notes"),
            CREATE_TIME,
            RECORD_ID,
        ),
        names={"customer": _names},
        importer=imports.CONTACTS,
    ),
)
