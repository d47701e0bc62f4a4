"""Customers, contacts and what belongs to them as files."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from kehu.customers.v1 import customer_service_pb2
from kehu.exports.v1 import exports_pb2 as pb

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
from chassis.exports.rpc import Exporter, Exports, chosen, only_whole, seen_names, under
from chassis.imports.values import told
from chassis.mapping import plain_decimal
from chassis.money import digits
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import seen_also, visible_text
from customers import imports
from customers.customer import SHARES, SHARES_OF_CUSTOMER
from customers.points.programme import levels_of, programme_id
from customers.profile import Entries
from customers.reached_in_files import ADDRESS, affiliation_told, columns
from customers.rpc.cards import CONTACT_CARD, CUSTOMER_CARD
from customers.rpc.competitors import COMPETITORS
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS
from customers.rpc.membership import CARDS
from customers.rpc.pages import all_of
from customers.rpc.partners import PARTNERS
from customers.rpc.points import FIRST_LOT, LOTS, NEWEST, TRANSACTIONS
from customers.rpc.pool import POOL
from customers.rpc.relations import every_relation
from customers.rpc.segments import IN_SEGMENT, SEGMENTS, those_of
from customers.value_lists import VALUE_LISTS

_KINDS = {"COMPANY": ("Company", "企业"), "PERSON": ("Person", "个人")}
_ROLES = {
    "DECIDER": ("Decider", "决策者"), "INFLUENCER": ("Influencer", "影响者"), "USER": ("User", "使用者"),
    "OPPONENT": ("Opponent", "反对者"),
}  # fmt: skip
_STATES = {"ACTIVE": ("Active", "有效"), "BLOCKED": ("Blocked", "已冻结"), "EXPIRED": ("Expired", "已过期")}
_POSTINGS = {
    "EARN": ("Earned", "获得"), "REDEEM": ("Redeemed", "兑换"), "EXPIRE": ("Expired", "过期"), "ADJUST": ("Adjusted", "调整"),
    "TAKE_BACK": ("Taken back", "收回"), "GIVE_BACK": ("Given back", "退还"),
}  # fmt: skip
_SEGMENTS = {"STATIC": ("List", "静态"), "RULE": ("Rule", "动态")}
_RELATIONS = {
    "SUPPLIER": ("Supplier", "供应商"), "PARTNER": ("Partner", "合作伙伴"), "PARENT": ("Parent", "母公司"),
    "COMPETITOR": ("Competitor", "竞争对手"),
}  # fmt: skip


_names = seen_names("customers", "display_name", shares=SHARES)


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


async def _levels(name: str, call: Call, ids: Sequence[UUID]) -> Mapping[UUID, str]:
    """The names of the levels of members in one language, or the other where there is none."""
    id = programme_id(call.who.tenant_id)
    rows = await call.database.read(call.who, "SELECT levels FROM membership_programmes WHERE id = $1", id)
    known = levels_of(rows[0]["levels"]) if rows else ()
    return {one.id: getattr(one, name) or one.name_en or one.name_zh for one in known if one.id in ids}


@dataclass(frozen=True)
class _Level(Column):
    """A member's level, whose name is in both languages."""

    def wanted(self, row: Any) -> Iterable[tuple[str, UUID]]:
        id = row[self.column]
        return () if id is None else (("level_en", id), ("level_zh", id))

    def cells(self, row: Any, style: Style) -> list[Cell]:
        names = style.names.get("level_zh" if style.chinese else "level_en", {})
        return [names.get(row[self.column])]


def _products(products: Sequence[Mapping[str, Any]]) -> str:
    """A competitor's products with what they cost."""
    out: list[str] = []
    for one in products:
        prices = [
            f"{sign} {_money(one[name], one['currency'])}"
            for sign, name in (("≥", "lowest_price"), ("≤", "highest_price"))
            if one[name] is not None
        ]
        told = ", ".join([*prices, *([one["notes"]] if one["notes"] else [])])
        out.append(one["name"] + (f" ({told})" if told else ""))
    return ", ".join(out)


def _money(minor: int, currency: str) -> str:
    return f"{plain_decimal(Decimal(minor).scaleb(-digits(currency)))} {currency}"


def _owed(arrears: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a partner owes, in each currency."""
    return [_money(one["amount"], one["currency"]) for one in arrears]


async def _of_segment(call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
    filter, where = await those_of(call, request.parent_id, request.filter, "parentId")
    asked = customer_service_pb2.ListCustomersRequest(
        filter=filter, query=request.query, order_by=request.order_by
    )
    async for rows in IN_SEGMENT.all(call, asked, where, only=chosen(request)):
        yield rows


def _pool(call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
    return POOL.all(call, request, {"ownerId": None}, only=chosen(request))


async def _postings(call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
    only_whole(request)
    card = await CARDS.get(call, request.parent_id, "parentId")
    async for rows in all_of(call, card["id"], TRANSACTIONS, NEWEST, lambda row: [row["sequence"]]):
        yield rows


async def _lots(call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
    only_whole(request)
    card = await CARDS.get(call, request.parent_id, "parentId")
    async for rows in all_of(call, card["id"], LOTS, FIRST_LOT, lambda row: [row["expire_date"], row["id"]]):
        yield rows


async def _relations(call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
    only_whole(request)
    customer = await CUSTOMERS.get(call, request.parent_id, "parentId")
    async for rows in every_relation(call, customer["id"]):
        yield rows


# Their heads say in which currency, for there may be orders in others; and none of them is taken for a field by an import.
_WORTH = (
    Column("orderCount", "Orders", "订单数", "order_count"),
    Amount("revenue", "Sold to date (home currency)", "累计订单额（本位币）", "revenue", currency_column="value_currency"),
    Amount(
        "costedRevenue", "Sold at a known cost (home currency)", "成本已知的订单额（本位币）", "costed_revenue",
        currency_column="value_currency",
    ),
    Amount("margin", "Margin (home currency)", "毛利（本位币）", "margin", currency_column="value_currency"),
)  # fmt: skip
_CUSTOMER = (
    Column("displayName", "Name", "客户名称", "display_name"),
    Choice("kind", "Kind", "类型", "kind", _KINDS),
    Listed("type", "Type", "客户类型", "type", "type"),
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
    *_WORTH,
    RECORD_ID,
)
_IN_POOL = (
    *(column for column in _CUSTOMER if column.field != "owner" and column not in _WORTH),
    Reference("previousOwner", "Previous owner", "原负责人", "previous_owner_id"),
    Column("poolTime", "In the pool since", "进入公海时间", "pool_time"),
    Column("returnReason", "Reason of return", "退回原因", "return_reason"),
)

_CONTACT = (
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
)
EXPORTS = Exports(
    Exporter(
        CUSTOMERS,
        "Customers",
        "客户",
        _CUSTOMER,
        names={"customer": _names},
        importer=imports.CUSTOMERS,
        value_lists=VALUE_LISTS,
        card=CUSTOMER_CARD,
    ),
    Exporter(
        CONTACTS,
        "Contacts",
        "联系人",
        _CONTACT,
        names={"customer": _names, "superior": _superiors},
        importer=imports.CONTACTS,
        value_lists=VALUE_LISTS,
        card=CONTACT_CARD,
    ),
    Exporter(
        CONTACTS,
        "Contacts of a customer",
        "客户的联系人",
        _CONTACT,
        names={"customer": _names, "superior": _superiors},
        importer=imports.CONTACTS,
        value_lists=VALUE_LISTS,
        kind="member_contact",
        of="customer",
        rows=under(CUSTOMERS, CONTACTS, "memberOf"),
        card=CONTACT_CARD,
    ),
    Exporter(
        IN_SEGMENT,
        "Customers of a segment",
        "分群客户",
        _CUSTOMER,
        names={"customer": _names},
        importer=imports.CUSTOMERS,
        value_lists=VALUE_LISTS,
        kind="segment_customer",
        of="segment",
        rows=_of_segment,
        card=CUSTOMER_CARD,
    ),
    Exporter(
        POOL,
        "Customer pool",
        "客户公海",
        _IN_POOL,
        names={"customer": _names},
        importer=imports.CUSTOMERS,
        value_lists=VALUE_LISTS,
        kind="pool_customer",
        right="customers",
        rows=_pool,
        nobodys=True,
    ),
    Exporter(
        COMPETITORS,
        "Competitors",
        "竞争对手",
        (
            Column("displayName", "Name", "名称", "display_name"),
            Column("website", "Website", "网站", "website"),
            Reference("customer", "Customer", "客户", "customer_id", kind="customer"),
            Derived("products", "Products", "产品", "products", _products),
            Column("strengths", "Strengths", "优势", "strengths"),
            Column("weaknesses", "Weaknesses", "劣势", "weaknesses"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            Column("notes", "Notes", "备注", "notes"),
            CREATE_TIME,
            RECORD_ID,
        ),
        names={"customer": _names},
    ),
    Exporter(
        PARTNERS,
        "Partners",
        "合作伙伴",
        (
            Reference("customer", "Customer", "客户", "customer_id", kind="customer"),
            Listed("type", "Kind of partner", "伙伴类型", "type", "partner_type"),
            Listed("discountLevel", "Discount level", "折扣等级", "discount_level", "discount_level"),
            Column("discountPercent", "Discount percent", "折扣率", "discount_percent"),
            Amount("creditLimit", "Credit limit", "信用额度", "credit_limit"),
            Derived("arrears", "Arrears", "欠款", "arrears", _owed),
            Column("inArrears", "In arrears", "有欠款", "in_arrears"),
            Column("overCredit", "Over credit", "超出额度", "over_credit"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            Column("notes", "Notes", "备注", "notes"),
            CREATE_TIME,
            RECORD_ID,
        ),
        names={"customer": _names},
        value_lists=VALUE_LISTS,
    ),
    Exporter(
        SEGMENTS,
        "Segments",
        "客户分群",
        (
            Column("displayName", "Name", "名称", "display_name"),
            Choice("kind", "Kind", "类型", "kind", _SEGMENTS),
            Column("filter", "Rule", "规则", "filter"),
            Column("memberCount", "Customers of a list", "静态客户数", "member_count"),
            Column("description", "Description", "说明", "description"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            CREATE_TIME,
            RECORD_ID,
        ),
    ),
    Exporter(
        CARDS,
        "Membership cards",
        "会员卡",
        (
            Column("number", "Number", "卡号", "number"),
            Reference("customer", "Customer", "客户", "customer_id", kind="customer"),
            Choice("state", "State", "状态", "state", _STATES),
            _Level("level", "Level", "会员等级", "level_id"),
            Column("balance", "Points", "积分余额", "balance"),
            Column("owed", "Points owed", "欠积分", "owed"),
            Column("expireDate", "Valid until", "有效期至", "expire_date"),
            Column("previousNumbers", "Previous numbers", "曾用卡号", "previous_numbers"),
            Column("blockReason", "Reason of blocking", "冻结原因", "block_reason"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            CREATE_TIME,
            RECORD_ID,
        ),
        names={
            "customer": _names,
            "level_en": partial(_levels, "name_en"),
            "level_zh": partial(_levels, "name_zh"),
        },
    ),
    Exporter(
        None,
        "Points transactions",
        "积分明细",
        (
            CREATE_TIME,
            Choice("kind", "Kind", "类型", "kind", _POSTINGS),
            Column("points", "Points", "积分", "member"),
            Column("balance", "Balance", "积分余额", "balance"),
            Column("owed", "Points owed", "欠积分", "owed"),
            Column("orderNumber", "Order", "订单号", "order_number"),
            Amount("value", "Value", "价值", "value"),
            Column("expireDate", "Valid until", "有效期至", "expire_date"),
            Reference("creator", "By", "操作人", "created_by"),
            Column("reason", "Reason", "原因", "reason"),
            RECORD_ID,
        ),
        kind="points_transaction",
        right="customers",
        of="card",
        rows=_postings,
    ),
    Exporter(
        None,
        "Points by validity",
        "积分批次",
        (
            Column("expireDate", "Valid until", "有效期至", "expire_date"),
            Column("points", "Points left", "剩余积分", "remaining"),
            Column("originalPoints", "Points earned", "获得积分", "points"),
            CREATE_TIME,
            RECORD_ID,
        ),
        kind="points_lot",
        right="customers",
        of="card",
        rows=_lots,
    ),
    Exporter(
        None,
        "Relations",
        "客户关系",
        (
            Choice("type", "Type", "类型", "type", _RELATIONS),
            Column("fromCustomer", "First customer", "客户一", "first_display_name"),
            Column("toCustomer", "Second customer", "客户二", "second_display_name"),
            Column("notes", "Notes", "备注", "notes"),
            CREATE_TIME,
            RECORD_ID,
        ),
        kind="customer_relation",
        right="customers",
        of="customer",
        rows=_relations,
    ),
)
