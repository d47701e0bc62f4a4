"""Customers and contacts as files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chassis.exports.columns import (
    CREATE_TIME,
    RECORD_ID,
    Amount,
    Cell,
    Choice,
    Column,
    Derived,
    Listed,
    Reference,
    Style,
)
from chassis.exports.rpc import Exporter, Exports
from chassis.imports.values import told
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import seen_also, visible_text
from customers import imports
from customers.customer import SHARES, SHARES_OF_CUSTOMER
from customers.profile import Entries
from customers.reached_in_files import ADDRESS, affiliation_told, columns
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS
from customers.value_lists import VALUE_LISTS

_KINDS = {"COMPANY": ("Company", "企业"), "PERSON": ("Person", "个人")}
_ROLES = {
    "DECIDER": ("Decider", "决策者"), "INFLUENCER": ("Influencer", "影响者"), "USER": ("User", "使用者"),
    "OPPONENT": ("Opponent", "反对者"),
}  # fmt: skip


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


def _first_part(key: str) -> Callable[[Entries], str | None]:
    return lambda entries: entries[0]["address"].get(key) if entries else None


def _whole(entries: Entries) -> Entries:
    return entries


def _account(entries: Entries) -> str | None:
    return _as_account(entries[0]["account"]) if entries else None


def _as_account(account: str) -> str | None:
    """As a cell that may have a label before it; the label has a column of its own."""
    return told("", account) if account else None


async def _superiors(call: Call, ids: Sequence[UUID]) -> Mapping[UUID, str]:
    """The names of contacts that the caller may see, by which an import finds them among those of their customer: of namesakes
    the e-mail addresses."""
    rule, reach = visible_text(
        call.who, "customers", Act.READ, "owner_id", "team_id", first=2, shares=SHARES_OF_CUSTOMER
    )
    seen = seen_also(rule, "contact_affiliations", "contact_id")
    rows = await call.database.read(call.who, _SUPERIORS + seen, list(ids), *reach)
    return {
        row["id"]: row["emails"][0]["address"] if row["namesake"] and row["emails"] else row["display_name"]
        for row in rows
    }


_SUPERIORS = (
    "SELECT t.id, t.display_name, t.emails, EXISTS (SELECT FROM contacts o WHERE o.customer_id = t.customer_id AND o.id <> t.id"
    " AND o.display_name = t.display_name AND o.deleted_at IS NULL) AS namesake FROM contacts t"
    " WHERE t.deleted_at IS NULL AND t.id = ANY($1::uuid[]) AND "
)


@dataclass(frozen=True)
class _Affiliations(Column):
    """What a contact is at further customers, as far as the caller may see these."""

    def wanted(self, row: Any) -> Iterable[tuple[str, UUID]]:
        for one in row[self.column]:
            yield "customer", UUID(one["customer_id"])
            if one["reports_to_id"]:
                yield "superior", UUID(one["reports_to_id"])

    def cells(self, row: Any, style: Style) -> list[Cell]:
        customers, superiors = style.names.get("customer", {}), style.names.get("superior", {})
        out: list[str] = []
        for one in row[self.column]:
            name = customers.get(UUID(one["customer_id"]))
            if name:
                above = superiors.get(UUID(one["reports_to_id"]), "") if one["reports_to_id"] else ""
                out.append(affiliation_told(name, one, above))
        return ["; ".join(out) or None]


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
            *(Derived(name, en, zh, "address", _part(key)) for name, en, zh, key, _ in ADDRESS),
            *columns("phones", "other_phones", _whole, "phone_label"),
            *columns("emails", "other_emails", _whole, "email_label"),
            *columns("addresses", "other_addresses", _whole, "address_label"),
            Derived("imAccount", "Messaging account", "即时通讯账号", "accounts", _account),
            *columns("accounts", "accounts", _whole),
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
            Reference("reportsTo", "Reports to", "上级", "reports_to_id", kind="superior"),
            _Affiliations("affiliations", "Further customers", "其他客户", "affiliations"),
            Derived("phone", "Phone", "电话", "phones", _first("number")),
            Derived("email", "E-mail", "邮箱", "emails", _first("address")),
            Derived("imAccount", "Messaging account", "即时通讯账号", "im_account", _as_account),
            *(Derived(name, en, zh, "addresses", _first_part(key)) for name, en, zh, key, _ in ADDRESS),
            *columns("phones", "phones", _whole),
            *columns("emails", "emails", _whole),
            *columns("addresses", "addresses", _whole),
            *columns("accounts", "other_accounts", _whole, "account_label"),
            Column("birthday", "Birthday", "生日", "birthday"),
            Column("primary", "Primary", "首要联系人", "primary"),
            Column("externalKey", "External key", "编号", "external_key"),
            Column("notes", "Notes", "备注", "notes"),
            CREATE_TIME,
            RECORD_ID,
        ),
        names={"customer": _names, "superior": _superiors},
        importer=imports.CONTACTS,
    ),
)
