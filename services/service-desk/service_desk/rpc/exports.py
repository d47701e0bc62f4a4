"""Tickets as files, and what was said about one."""

from chassis.exports.columns import CREATE_TIME, RECORD_ID, Choice, Column, Reference
from chassis.exports.rpc import Exporter, Exports, under
from service_desk.rpc.tickets import COMMENTS, RIGHT, TICKETS

_STATUSES = {
    "NEW": ("New", "新建"), "OPEN": ("Open", "处理中"), "PENDING": ("Pending", "待客户回复"), "RESOLVED": ("Resolved", "已解决"),
    "CLOSED": ("Closed", "已关闭"),
}  # fmt: skip
_PRIORITIES = {
    "LOW": ("Low", "低"),
    "NORMAL": ("Normal", "普通"),
    "HIGH": ("High", "高"),
    "URGENT": ("Urgent", "紧急"),
}
_CHANNELS = {
    "PHONE": ("Phone", "电话"), "EMAIL": ("E-mail", "邮件"), "WEB": ("Web", "网站"), "CHAT": ("Chat", "在线聊天"),
    "VISIT": ("Visit", "上门"),
}  # fmt: skip
_SAID = {
    "REPLY": ("Reply", "回复"), "CUSTOMER_MESSAGE": ("Customer's message", "客户消息"), "NOTE": ("Note", "内部备注"),
}  # fmt: skip


EXPORTS = Exports(
    Exporter(
        TICKETS,
        "Tickets",
        "工单",
        (
            Column("number", "Number", "工单号", "number"),
            Column("subject", "Subject", "主题", "subject"),
            Choice("status", "Status", "状态", "status", _STATUSES),
            Choice("priority", "Priority", "优先级", "priority", _PRIORITIES),
            Choice("channel", "Channel", "渠道", "channel", _CHANNELS),
            Column("category", "Category", "分类", "category"),
            Column("tags", "Tags", "标签", "tags"),
            Column("customer", "Customer", "客户", "customer_name"),
            Column("requesterName", "Requester", "提出人", "requester_name"),
            Column("requesterPhone", "Requester's phone", "提出人电话", "requester_phone"),
            Column("requesterEmail", "Requester's e-mail", "提出人邮箱", "requester_email"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            Column("description", "Description", "描述", "description"),
            Column("resolution", "Resolution", "解决方案", "resolution"),
            Column("pendReason", "Waits for", "等待原因", "pend_reason"),
            CREATE_TIME,
            Column("firstResponseTime", "First response", "首次响应时间", "first_response_time"),
            Column("resolveTime", "Resolved", "解决时间", "resolve_time"),
            Column("closeTime", "Closed", "关闭时间", "close_time"),
            Column("reopenCount", "Reopened", "重开次数", "reopen_count"),
            Column("replyCount", "Replies", "回复次数", "reply_count"),
            Column("externalKey", "External key", "编号", "external_key"),
            Column("customerId", "Customer id", "客户标识", "customer_id"),
            Column("contactId", "Contact id", "联系人标识", "contact_id"),
            Column("orderId", "Order id", "订单标识", "order_id"),
            Column("productId", "Product id", "产品标识", "product_id"),
            RECORD_ID,
        ),
    ),
    Exporter(
        COMMENTS,
        "Ticket comments",
        "工单沟通记录",
        (
            CREATE_TIME,
            Choice("kind", "Kind", "类型", "kind", _SAID),
            Column("authorName", "Author", "作者", "author_name"),
            Column("body", "Text", "内容", "body"),
            RECORD_ID,
        ),
        kind="ticket_comment",
        right=RIGHT,
        of="ticket",
        rows=under(TICKETS, COMMENTS, "ticketId"),
    ),
)
