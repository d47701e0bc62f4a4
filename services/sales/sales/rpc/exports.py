"""Opportunities, products, orders and activities as files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from uuid import UUID

from chassis.exports.columns import CREATE_TIME, RECORD_ID, Amount, Cell, Choice, Column, Reference, Style
from chassis.exports.rpc import Exporter, Exports, seen_names
from chassis.rpc import Call
from sales import imports
from sales.competition import NAMES
from sales.order_lines import Costs, costs_known, lines_of
from sales.rpc.activities import ACTIVITIES
from sales.rpc.opportunities import OPPORTUNITIES
from sales.rpc.orders import ORDERS
from sales.rpc.products import PRODUCTS

_RESULTS = {"OPEN": ("Open", "进行中"), "WON": ("Won", "赢单"), "LOST": ("Lost", "输单")}
_LOSSES = {
    "PRICE": ("Price", "价格"), "COMPETITOR": ("Competitor", "竞争对手"), "NO_BUDGET": ("No budget", "预算不足"),
    "NO_NEED": ("No need", "无需求"), "TIMING": ("Timing", "时机不合适"), "FEATURES": ("Features", "产品不合适"),
    "NO_DECISION": ("No decision", "未决定"), "OTHER": ("Other", "其他"),
}  # fmt: skip
_STATUSES = {"ACTIVE": ("Active", "在售"), "RETIRED": ("Retired", "停售")}
_ORDERS = {
    "DRAFT": ("Draft", "草稿"), "PLACED": ("Placed", "已下单"), "PARTLY_DELIVERED": ("Partially delivered", "部分发货"),
    "DELIVERED": ("Delivered", "已发货"), "CANCELLED": ("Cancelled", "已取消"),
}  # fmt: skip
_KINDS = {
    "VISIT": ("Visit", "拜访"), "CALL": ("Call", "电话"), "EMAIL": ("E-mail", "邮件"), "SMS": ("Text message", "短信"),
    "MEETING": ("Meeting", "会议"), "TASK": ("Task", "任务"),
}  # fmt: skip
_DOINGS = {
    "PLANNED": ("Planned", "计划中"),
    "COMPLETED": ("Completed", "已完成"),
    "CANCELLED": ("Cancelled", "已取消"),
}


_opportunities = seen_names("opportunities")


@dataclass(frozen=True)
class _Stage(Column):
    """The stage of what is open, and how it ended of what is not: as an import reads it."""

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """Its name, or the end."""
        if row["status"] == "OPEN":
            return [style.cell(row["stage_name"])]
        return [style.said(*_RESULTS[row["status"]]) if not style.fields else row["status"].capitalize()]


_COMPETITOR = "competitor"


async def _competitors(call: Call, ids: Sequence[UUID]) -> Mapping[UUID, str]:
    return {row["id"]: row["name"] for row in await call.database.read(call.who, NAMES, list(ids))}


@dataclass(frozen=True)
class _Competitors(Column):
    """Those that bid, by their names."""

    def wanted(self, row: Any) -> Iterable[tuple[str, UUID]]:
        """All of them."""
        return [(_COMPETITOR, id) for id in row[self.column]]

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """The names."""
        names = style.names.get(_COMPETITOR, {})
        return [style.cell([names[id] for id in row[self.column] if id in names])]


@dataclass(frozen=True)
class _Costed(Amount):
    """A sum over the lines of known cost; empty when there are none."""

    currency_column: str = "currency_code"
    read: Callable[[Costs], int] = attrgetter("cost")

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """Number and currency."""
        currency = row[self.currency_column]
        known = costs_known(lines_of(row["lines"], currency, row["line_costs"]))
        minor = None if known is None else self.read(known)
        return super().cells({self.column: minor, self.currency_column: currency}, style)


EXPORTS = Exports(
    Exporter(
        OPPORTUNITIES,
        "Opportunities",
        "商机",
        (
            Column("name", "Name", "商机名称", "name"),
            Column("customer", "Customer", "客户", "customer_name"),
            Column("product", "Product", "产品", "product_name"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            _Stage("stage", "Stage", "阶段", "stage_name"),
            Choice("result", "Result", "结果", "status", _RESULTS),
            Column("probability", "Probability", "成交概率", "probability"),
            Amount("amount", "Amount", "金额", "amount"),
            Column("engageDate", "Engage date", "接触日期", "engage_date"),
            Column("expectedCloseDate", "Expected close date", "预计成交日期", "expected_close_date"),
            Column("closeDate", "Close date", "成交日期", "close_date"),
            Choice("lossReason", "Loss reason", "输单原因", "loss_reason", _LOSSES),
            Column("competitor", "Competitor", "竞争对手", "competitor"),
            _Competitors("competitors", "Competitors that bid", "参与竞争的对手", "competitor_ids"),
            Reference("lostTo", "Lost to", "输给的对手", "lost_to_competitor_id", kind=_COMPETITOR),
            Column("externalKey", "External key", "编号", "external_key"),
            Column("notes", "Notes", "备注", "notes"),
            CREATE_TIME,
            RECORD_ID,
        ),
        names={_COMPETITOR: _competitors},
        importer=imports.OPPORTUNITIES,
    ),
    Exporter(
        PRODUCTS,
        "Products",
        "产品",
        (
            Column("name", "Name", "产品名称", "name"),
            Column("sku", "Article number", "货号", "sku"),
            Column("series", "Series", "系列", "series"),
            Column("unit", "Unit", "单位", "unit"),
            Amount("listPrice", "List price", "价格", "list_price"),
            Amount("standardCost", "Standard cost", "标准成本", "standard_cost"),
            Column("taxPercent", "Tax percent", "税率", "tax_percent"),
            Choice("status", "Status", "状态", "status", _STATUSES),
            Column("description", "Description", "说明", "description"),
            CREATE_TIME,
            RECORD_ID,
        ),
        importer=imports.PRODUCTS,
    ),
    Exporter(
        ORDERS,
        "Orders",
        "订单",
        (
            Column("number", "Number", "订单号", "number"),
            Column("customer", "Customer", "客户", "customer_name"),
            Column("orderDate", "Order date", "下单日期", "order_date"),
            Choice("status", "Status", "状态", "status", _ORDERS),
            Amount("subtotal", "Subtotal", "未税金额", "subtotal", currency_column="currency_code"),
            Amount("taxTotal", "Tax", "税额", "tax_total", currency_column="currency_code"),
            Amount("total", "Total", "总金额", "total", currency_column="currency_code"),
            _Costed(
                "costedSubtotal",
                "Subtotal of known cost",
                "成本已知的未税金额",
                "line_costs",
                read=attrgetter("sold"),
            ),
            _Costed("costTotal", "Known cost", "已知成本", "line_costs"),
            _Costed("margin", "Margin", "毛利", "line_costs", read=attrgetter("margin")),
            Reference("owner", "Owner", "负责人", "owner_id"),
            Column("placeTime", "Placed", "确认时间", "place_time"),
            Column("deliverTime", "Delivered", "交付时间", "deliver_time"),
            Column("cancelTime", "Cancelled", "取消时间", "cancel_time"),
            Column("cancelReason", "Reason of cancelling", "取消原因", "cancel_reason"),
            Column("requestedDeliveryDate", "Requested delivery", "要求交货日期", "requested_delivery_date"),
            Column("deliveryAddress", "Delivery address", "收货地址", "delivery_address"),
            Column("externalKey", "External key", "编号", "external_key"),
            Column("notes", "Notes", "备注", "notes"),
            CREATE_TIME,
            RECORD_ID,
        ),
    ),
    Exporter(
        ACTIVITIES,
        "Activities",
        "活动",
        (
            Column("subject", "Subject", "主题", "subject"),
            Choice("kind", "Kind", "类型", "kind", _KINDS),
            Choice("status", "Status", "状态", "status", _DOINGS),
            Column("dueTime", "Due", "计划时间", "due_time"),
            Column("durationMinutes", "Minutes", "时长（分钟）", "duration_minutes"),
            Column("customer", "Customer", "客户", "customer_name"),
            Reference("opportunity", "Opportunity", "商机", "opportunity_id", kind="opportunity"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            Column("location", "Location", "地点", "location"),
            Column("description", "Description", "说明", "description"),
            Column("completeTime", "Completed", "完成时间", "complete_time"),
            Column("result", "Result", "结果", "result"),
            Column("cancelReason", "Reason of cancelling", "取消原因", "cancel_reason"),
            Column("externalKey", "External key", "编号", "external_key"),
            Column("customerId", "Customer id", "客户标识", "customer_id"),
            Column("contactId", "Contact id", "联系人标识", "contact_id"),
            Column("leadId", "Lead id", "线索标识", "lead_id"),
            Column("opportunityId", "Opportunity id", "商机标识", "opportunity_id"),
            CREATE_TIME,
            RECORD_ID,
        ),
        names={"opportunity": _opportunities},
    ),
)
