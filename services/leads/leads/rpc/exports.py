"""Leads and what belongs to them as files."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from kehu.exports.v1 import exports_pb2 as pb

from chassis.exports.columns import CREATE_TIME, RECORD_ID, Amount, Choice, Column, Derived, Listed, Reference
from chassis.exports.rpc import Exporter, Exports, chosen, under
from chassis.rpc import Call
from leads.imports import LEADS as IMPORTER
from leads.rpc.absences import ABSENCES
from leads.rpc.cadences import TOUCHES
from leads.rpc.leads import CAPTURES, LEADS
from leads.rpc.pool import POOL, STILL_OPEN
from leads.value_lists import VALUE_LISTS

_STATUSES = {
    "NEW": ("New", "新线索"), "CONTACTED": ("Contacted", "已联系"), "QUALIFIED": ("Qualified", "已确认"),
    "CONVERTING": ("Converting", "转化中"), "CONVERTED": ("Converted", "已转化"), "DISQUALIFIED": ("Disqualified", "无效"),
}  # fmt: skip
_CHANNELS = {
    "EMAIL": ("E-mail", "邮件"), "SMS": ("Text message", "短信"), "IM": ("Messenger", "即时通讯"), "PHONE": ("Phone", "电话"),
    "VISIT": ("Visit", "拜访"),
}  # fmt: skip
_OUTCOMES = {
    "REACHED": ("Reached", "已联系上"), "SENT": ("Sent", "已发送"), "NO_ANSWER": ("No answer", "未接通"),
    "SKIPPED": ("Skipped", "已跳过"),
}  # fmt: skip


def _utm(key: str) -> Callable[[Mapping[str, str]], str | None]:
    return lambda utm: utm.get(key)


def _answers(answers: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(f"{one['question']}: {one['answer']}" for one in answers)


def _pool(call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
    return POOL.all(call, request, {"ownerId": None}, such=STILL_OPEN, only=chosen(request))


_LEAD = (
    Column("name", "Name", "姓名", "name"),
    Column("companyName", "Company", "公司名称", "company_name"),
    Column("title", "Title", "职位", "title"),
    Column("department", "Department", "部门", "department"),
    Column("phone", "Phone", "电话", "phone"),
    Column("email", "E-mail", "邮箱", "email"),
    Column("imAccount", "Messaging account", "即时通讯账号", "im_account"),
    Column("website", "Website", "网址", "website"),
    Column("industry", "Industry", "行业", "industry"),
    Column("region", "Region", "地区", "region"),
    Column("address", "Address", "地址", "address"),
    Listed("source", "Source", "来源", "source", "source"),
    Column("sourceDetail", "Source detail", "来源说明", "source_detail"),
    Choice("status", "Status", "状态", "status", _STATUSES),
    Column("score", "Score", "评分", "score"),
    Amount("estimatedAmount", "Estimated amount", "预计金额", "estimated_amount"),
    Column("tags", "Tags", "标签", "tags"),
    Reference("owner", "Owner", "负责人", "owner_id"),
    Column("externalKey", "External key", "编号", "external_key"),
    Column("notes", "Notes", "备注", "notes"),
    Column("utmSource", "UTM source", "UTM 来源", "utm_source"),
    Column("utmMedium", "UTM medium", "UTM 媒介", "utm_medium"),
    Column("utmCampaign", "UTM campaign", "UTM 活动", "utm_campaign"),
    Column("referrer", "Referrer", "来路", "referrer"),
    Column("landingPage", "Landing page", "落地页", "landing_page"),
    Column("clickId", "Click id", "点击编号", "click_id"),
    CREATE_TIME,
    Column("lastContactTime", "Last contact", "最近联系时间", "last_contact_time"),
    Column("nextContactTime", "Next contact", "下次联系时间", "next_contact_time"),
    RECORD_ID,
)
_IN_POOL = (
    *(column for column in _LEAD if column.field != "owner"),
    Column("poolTime", "In the pool since", "进入公海时间", "pool_time"),
    Column("returnReason", "Reason of return", "退回原因", "return_reason"),
)

EXPORTS = Exports(
    Exporter(LEADS, "Leads", "线索", _LEAD, importer=IMPORTER, value_lists=VALUE_LISTS),
    Exporter(
        POOL,
        "Lead pool",
        "线索公海",
        _IN_POOL,
        importer=IMPORTER,
        value_lists=VALUE_LISTS,
        kind="pool_lead",
        right="leads",
        rows=_pool,
        nobodys=True,
    ),
    Exporter(
        CAPTURES,
        "Captures",
        "获取记录",
        (
            CREATE_TIME,
            Listed("source", "Source", "来源", "source", "source"),
            Column("sourceDetail", "Source detail", "来源说明", "source_detail"),
            Column("repeated", "Came again", "再次到访", "repeated"),
            Derived("utmSource", "UTM source", "UTM 来源", "utm", _utm("source")),
            Derived("utmMedium", "UTM medium", "UTM 媒介", "utm", _utm("medium")),
            Derived("utmCampaign", "UTM campaign", "UTM 活动", "utm", _utm("campaign")),
            Derived("utmTerm", "UTM term", "UTM 关键词", "utm", _utm("term")),
            Derived("utmContent", "UTM content", "UTM 内容", "utm", _utm("content")),
            Column("referrer", "Referrer", "来路", "referrer"),
            Column("landingPage", "Landing page", "落地页", "landing_page"),
            Column("clickId", "Click id", "点击编号", "click_id"),
            Column("message", "Message", "留言", "message"),
            Derived("answers", "Answers", "回答", "answers", _answers),
            Column("campaignId", "Campaign id", "营销活动标识", "campaign_id"),
            Column("formId", "Form id", "表单标识", "form_id"),
            RECORD_ID,
        ),
        value_lists=VALUE_LISTS,
        kind="lead_capture",
        right="leads",
        of="lead",
        rows=under(LEADS, CAPTURES, "leadId"),
    ),
    Exporter(
        TOUCHES,
        "Steps of a cadence",
        "跟进步骤",
        (
            CREATE_TIME,
            Column("step", "Step", "步骤", "step"),
            Choice("channel", "Channel", "方式", "channel", _CHANNELS),
            Choice("outcome", "Outcome", "结果", "outcome", _OUTCOMES),
            Column("dueTime", "Due", "计划时间", "due_time"),
            Column("note", "Note", "备注", "note"),
            Reference("creator", "By", "操作人", "created_by"),
            Column("cadenceId", "Cadence id", "跟进计划标识", "cadence_id"),
            RECORD_ID,
        ),
        kind="lead_touch",
        right="leads",
        of="lead",
        rows=under(LEADS, TOUCHES, "leadId"),
    ),
    Exporter(
        ABSENCES,
        "Absences",
        "缺勤",
        (
            Reference("owner", "Person", "人员", "owner_id"),
            Column("fromTime", "From", "开始时间", "from_time"),
            Column("untilTime", "Until", "结束时间", "until_time"),
            Column("note", "Note", "备注", "note"),
            RECORD_ID,
        ),
    ),
)
