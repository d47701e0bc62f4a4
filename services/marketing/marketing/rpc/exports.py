"""Campaigns, their members and web forms as files."""

from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

from kehu.exports.v1 import exports_pb2 as pb

from chassis.exports.columns import CREATE_TIME, RECORD_ID, Amount, Choice, Column, Reference
from chassis.exports.rpc import Exporter, Exports, chosen, seen_names
from chassis.rpc import Call
from marketing.attribution import NONE
from marketing.rpc.campaigns import CAMPAIGNS, results_by_id
from marketing.rpc.forms import FORMS
from marketing.rpc.members import MEMBERS

_CHANNELS = {
    "EMAIL": ("E-mail", "邮件"), "SMS": ("Text message", "短信"), "PHONE": ("Phone", "电话"),
    "DIRECT_MAIL": ("Direct mail", "直邮"), "SEARCH": ("Search", "搜索"), "WEB": ("Web", "网站"),
    "INSTANT_MESSAGE": ("Messenger", "即时通讯"), "SURVEY": ("Survey", "问卷"), "CONFERENCE": ("Conference", "会议"),
    "WEB_MEETING": ("Web meeting", "网络会议"), "ON_SITE_EVENT": ("On-site event", "现场活动"), "OTHER": ("Other", "其他"),
}  # fmt: skip
_STATUSES = {
    "PLANNED": ("Planned", "计划中"), "RUNNING": ("Running", "进行中"), "COMPLETED": ("Completed", "已完成"),
    "CANCELLED": ("Cancelled", "已取消"),
}  # fmt: skip
_MEMBERS = {
    "PLANNED": ("Planned", "计划"), "REACHED": ("Reached", "已触达"), "RESPONDED": ("Responded", "已响应"),
    "ATTENDED": ("Attended", "已参加"), "DECLINED": ("Declined", "已拒绝"),
}  # fmt: skip
_FORMS = {"OPEN": ("Open", "开放"), "CLOSED": ("Closed", "已关闭")}


_campaigns = seen_names("campaigns")


async def _with_results(call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
    async for rows in CAMPAIGNS.all(call, request, only=chosen(request)):
        results = await results_by_id(call, rows)
        yield [{**row, **asdict(results.get(row["id"], NONE))} for row in rows]


EXPORTS = Exports(
    Exporter(
        CAMPAIGNS,
        "Campaigns",
        "营销活动",
        (
            Column("name", "Name", "名称", "name"),
            Choice("channel", "Channel", "渠道", "channel", _CHANNELS),
            Choice("status", "Status", "状态", "status", _STATUSES),
            Column("startDate", "Start", "开始日期", "start_date"),
            Column("endDate", "End", "结束日期", "end_date"),
            Amount("budget", "Budget", "预算", "budget"),
            Amount("actualCost", "Actual cost", "实际费用", "actual_cost"),
            Amount("expectedRevenue", "Expected revenue", "预期收入", "expected_revenue"),
            Column(
                "expectedResponsePercent",
                "Expected response percent",
                "预期响应率",
                "expected_response_percent",
            ),
            Column("memberCount", "Members", "成员数", "members"),
            Column("respondedCount", "Responded", "响应数", "responded"),
            Column("leadCount", "Leads", "线索数", "leads"),
            Column("convertedLeadCount", "Converted leads", "已转化线索数", "converted"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            Column("description", "Description", "说明", "description"),
            Column("externalKey", "External key", "编号", "external_key"),
            CREATE_TIME,
            RECORD_ID,
        ),
        rows=_with_results,
    ),
    Exporter(
        MEMBERS,
        "Campaign members",
        "营销活动成员",
        (
            Column("displayName", "Name", "名称", "display_name"),
            Reference("campaign", "Campaign", "营销活动", "campaign_id", kind="campaign"),
            Choice("status", "Status", "状态", "status", _MEMBERS),
            Column("responseTime", "Response", "响应时间", "response_time"),
            Column("note", "Note", "备注", "note"),
            CREATE_TIME,
            Column("leadId", "Lead id", "线索标识", "lead_id"),
            Column("customerId", "Customer id", "客户标识", "customer_id"),
            Column("contactId", "Contact id", "联系人标识", "contact_id"),
            RECORD_ID,
        ),
        names={"campaign": _campaigns},
    ),
    Exporter(
        FORMS,
        "Web forms",
        "网页表单",
        (
            Column("name", "Name", "名称", "name"),
            Reference("campaign", "Campaign", "营销活动", "campaign_id", kind="campaign"),
            Choice("status", "Status", "状态", "status", _FORMS),
            Column("submissionCount", "Submissions", "提交次数", "submission_count"),
            Column("lastSubmissionTime", "Last submission", "最近提交时间", "last_submission_time"),
            Reference("owner", "Owner", "负责人", "owner_id"),
            CREATE_TIME,
            RECORD_ID,
        ),
        names={"campaign": _campaigns},
    ),
)
