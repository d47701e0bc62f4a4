"""Importing leads from files."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.custom_fields.definitions import taken
from chassis.custom_fields.given import COLUMN
from chassis.database import Transaction
from chassis.errors import Invalid, Problem
from chassis.home import home_country_of
from chassis.imports.custom import refused_by
from chassis.imports.duplicates import Do, decided, lacking, twins
from chassis.imports.importer import (
    Importer,
    ImportRow,
    Options,
    Outcome,
    Undo,
    created,
    refused,
    unchanged,
    updated,
)
from chassis.imports.mapping import Target
from chassis.imports.owners import OWNER, owners_under
from chassis.imports.people import FIRST_NAME, LAST_NAME, whole_name
from chassis.imports.progress import ImportProgressed
from chassis.imports.values import Amount, Choice, Email, Listed, Moment, Phone, Tags, Text
from chassis.papers import papers_on
from leads.assignment import JOB
from leads.captures import note_first, tells_origin
from leads.custom_fields import CUSTOM_FIELDS
from leads.errors import ImportGaveAway, LeadConverted, LeadConverting, LeadNotAssignable, LeadTouched
from leads.handling import Handling, hold
from leads.lead import Lead, assign_lead, capture, change_lead, remind
from leads.lead_events import LeadDeleted, LeadDisqualified, LeadQualified, tell, told
from leads.lists import remembered
from leads.value_lists import VALUE_LISTS
from leads.words import CONTACTED, DISQUALIFIED, DUPLICATE, NEW, OPEN, QUALIFIED

_SOURCE = Listed("source", {
    "WEB_FORM": ("web", "website", "网站", "web form"), "PHONE": ("call", "电话"), "EMAIL": ("mail", "邮件"),
    "REFERRAL": ("推荐", "转介绍"), "ADVERTISEMENT": ("ad", "ads", "广告"), "SEARCH": ("搜索", "百度"),
    "SOCIAL_MEDIA": ("social", "微信", "社交媒体"), "EXHIBITION": ("fair", "展会"), "PARTNER": ("渠道", "伙伴"),
    "COLD_CALL": ("陌拜",), "PURCHASED_LIST": ("list",), "OTHER": ("其他",), "SURVEY": ("问卷", "调查"),
    "BUSINESS_CARD": ("名片", "business card"),
})  # fmt: skip
_CLOSED_WON = "CONVERTED"
_STATUS = Choice({
    NEW: ("新线索", "新建", "未跟进", "open", "not contacted", "open - not contacted", "assigned"),
    CONTACTED: ("已联系", "跟进中", "联系中", "working", "working - contacted", "in process", "in progress"),
    QUALIFIED: ("已确认", "合格", "accepted"),
    DISQUALIFIED: (
        "无效", "不合格", "作废", "已关闭", "关闭", "废弃", "unqualified", "closed", "closed - not converted", "dead", "junk",
        "lost", "recycled",
    ),
    _CLOSED_WON: ("已转化", "已转换", "已成交", "closed - converted", "won"),
})  # fmt: skip
_REASON = Choice({
    "NO_NEED": ("no need", "无需求", "没有需求", "not interested"), "NO_BUDGET": ("no budget", "预算不足", "没有预算"),
    "NO_RESPONSE": ("no response", "无回应", "联系不上", "unreachable", "no answer"),
    "INVALID_DATA": ("invalid data", "信息无效", "信息错误", "wrong number", "bad data"),
    DUPLICATE: ("重复",), "BOUGHT_ELSEWHERE": ("bought elsewhere", "已买竞品", "竞争对手", "lost to competitor", "competitor"),
    "SPAM": ("垃圾信息", "junk"), "OTHER": ("其他",),
}, others=500)  # fmt: skip
_UTM = {f"utm{name.capitalize()}": name for name in ("source", "medium", "campaign", "term", "content")}
_TOLD = {QUALIFIED: LeadQualified, DISQUALIFIED: LeadDisqualified}
"""What is told of a new lead beside that it is there: whoever counts those that were qualified or closed counts it, too."""
_ONCE = ("utm", "referrer", "landing_page", "click_id")
"""Where a lead came from is told when it is made, and stays."""
_COLUMNS = {
    "name": "name", "companyName": "company_name", "title": "title", "department": "department", "phone": "phone",
    "email": "email", "industry": "industry", "region": "region", "address": "address", "source": "source",
    "notes": "notes", "tags": "tags", "externalKey": "external_key", "sourceDetail": "source_detail",
    "referrer": "referrer", "landingPage": "landing_page", "clickId": "click_id", "website": "website",
    "imAccount": "im_account", "nextContactTime": "next_contact_time",
}  # fmt: skip


async def save(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """New leads, or changes of those that are there already, as mode and duplicate policy say. A row without any name is
    refused."""
    found = await twins(tx, Lead, "leads", rows, options)
    owner = options.owner(tx.who)
    out: list[Outcome] = []
    handling = await hold(tx)
    given: list[str] = []
    # What is changed may have been made by a row above.
    async with nullcontext() if options.changes else tx.in_bulk():
        for row in rows:
            values = row.values
            todo = decided(options, found.keyed(values), found.alike(values), values)
            if isinstance(todo, Outcome):
                out.append(todo)
            elif todo[1] is not None:
                out.append(await _changed(tx, todo[1], handling, values, fill=todo[0] is Do.FILL))
                found.note(values, todo[1])
            elif not (values.get("name") or whole_name(values)) and not values.get("companyName"):
                out.append(refused("LEAD_WITHOUT_NAME", "a lead needs a name or a company name", "name"))
            else:
                columns = _columns(values) | _standing(tx, values)
                try:
                    lead = await capture(tx, columns, values.get("owner", owner), handling)
                except Invalid as problem:
                    out.append(refused_by(problem))
                    continue
                found.note(values, lead.id)
                if tells_origin(vars(lead)):
                    await note_first(tx, lead, handling)
                if "owner" not in values and lead.status in OPEN:
                    given.append(str(lead.id))
                if lead.status in _TOLD:
                    tell(tx, lead, handling, _TOLD[lead.status])
                await remind(tx, lead)
                out.append(created(lead.id))
    # Whoever imports for somebody else has said whose they are.
    if given and handling.assign_imported and owner.person_id == tx.who.person_id:
        await tx.enqueue(JOB, {"lead_ids": given})
    return out


def _standing(tx: Transaction, values: dict[str, Any]) -> dict[str, Any]:
    """How far a new lead is that has been elsewhere. Who became a customer there is one: nobody works on the lead here."""
    status = values.get("status", DISQUALIFIED if values.get("disqualifyReason") else NEW)
    if status == QUALIFIED:
        return {"status": QUALIFIED, "qualify_time": tx.now}
    if status not in (DISQUALIFIED, _CLOSED_WON):
        return {"status": status}
    reason, note = values.get("disqualifyReason", "OTHER"), ""
    if reason not in _REASON.choices:
        reason, note = "OTHER", reason
    if status == _CLOSED_WON:
        reason = DUPLICATE
    return {
        "status": DISQUALIFIED, "disqualify_reason": reason, "disqualify_note": note, "disqualify_time": tx.now,
    }  # fmt: skip


async def _changed(
    tx: Transaction, id: UUID, handling: Handling, values: dict[str, Any], *, fill: bool
) -> Outcome:
    """Makes a lead that is there what the row says, or, to `fill` it, only where it says nothing; what the row leaves empty
    stays."""
    await tx.session.flush()
    lead = await tx.get(Lead, id, right="leads")
    version = lead.version
    written = {name: value for name, value in _columns(values).items() if name not in _ONCE}
    given = lacking(lead, written) if fill else written
    try:
        columns = await taken(tx, Lead.record_type, given, lead.custom_fields)
    except Invalid as problem:
        return refused_by(problem)
    try:
        if "owner" in values and not (fill and lead.owner_id):
            assign_lead(tx, lead, handling, values["owner"])
        await change_lead(tx, lead, handling, columns)
    except (LeadConverting, LeadConverted) as problem:
        return refused(problem.reason, problem.message)
    except LeadNotAssignable as problem:
        return refused(problem.reason, problem.message, "owner")
    await tx.session.flush()
    return unchanged(id) if lead.version == version else updated(id)


async def _remove(tx: Transaction, lead: Lead) -> None:
    """Takes a lead back that an import has made. Raises LeadConverting, LeadConverted."""
    lead.check_editable()
    tx.delete(lead)
    tx.record(LeadDeleted(**told(lead)), on=lead)


async def _dealt_with(tx: Transaction, ids: Sequence[UUID]) -> Mapping[UUID, Problem]:
    """Why those of the leads are kept that somebody has begun to work with."""
    found = await papers_on(tx, Lead.record_type, ids)
    for id in (await tx.session.execute(_TAKEN_IN_HAND, {"ids": list(ids)})).scalars():
        found.setdefault(UUID(str(id)), []).append("activities")
    return {id: LeadTouched(what) for id, what in found.items()}


# Sales tells of activities, which change no version; to be given to somebody, or to nobody, is no work.
_TAKEN_IN_HAND = text(
    "SELECT id FROM leads WHERE id = ANY(:ids) AND touch_time > greatest(created_at, assign_time, pool_time)"
)


async def _change(tx: Transaction, lead: Lead, values: dict[str, Any]) -> None:
    """Gives a lead back what it was before an import. Raises ImportGaveAway when the import has given it to somebody."""
    if values.keys() & {"owner_id", "team_id"}:
        raise ImportGaveAway
    await change_lead(tx, lead, await hold(tx), values)


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    columns = {column: values[name] for name, column in _COLUMNS.items() if name in values}
    if "name" not in columns and (name := whole_name(values)):
        columns["name"] = name
    if "estimatedAmount" in values:
        columns["estimated_amount"] = values["estimatedAmount"].minor
        columns["estimated_amount_currency"] = values["estimatedAmount"].currency
    utm = {name: values[field] for field, name in _UTM.items() if values.get(field)}
    if utm:
        columns["utm"] = utm
    if COLUMN in values:
        columns[COLUMN] = values[COLUMN]
    return columns


LEADS = Importer(
    record_type="lead",
    right="leads",
    targets=(
        Target("name", "Name", Text(200), aliases=("姓名", "联系人", "contact", "full name", "contact name")),
        LAST_NAME,
        FIRST_NAME,
        Target(
            "companyName",
            "Company",
            Text(200),
            aliases=("公司", "公司名称", "单位", "company name", "account"),
        ),
        Target("title", "Title", Text(100), aliases=("职位", "职务", "job title")),
        Target("department", "Department", Text(100), aliases=("部门",)),
        Target("phone", "Phone", Phone(), aliases=("电话", "手机", "手机号", "mobile", "tel")),
        Target("email", "E-mail", Email(), aliases=("邮箱", "电子邮件", "email", "mail", "email address")),
        Target(
            "imAccount",
            "Messaging account",
            Text(100),
            aliases=("即时通讯账号", "微信", "wechat", "qq", "im account"),
        ),
        Target("website", "Website", Text(2048), aliases=("网站", "网址", "url", "domain name")),
        Target("industry", "Industry", Listed("industry", named=True), aliases=("行业", "sector")),
        Target("region", "Region", Listed("region", named=True), aliases=("地区", "省份", "区域")),
        Target("address", "Address", Text(500), aliases=("地址",)),
        Target("source", "Source", _SOURCE, aliases=("来源", "线索来源", "lead source")),
        OWNER,
        Target("status", "Status", _STATUS, aliases=("状态", "线索状态", "lead status", "stage")),
        Target(
            "disqualifyReason",
            "Reason of disqualification",
            _REASON,
            aliases=("无效原因", "关闭原因", "作废原因", "disqualify reason", "lost reason", "close reason"),
        ),
        Target(
            "nextContactTime",
            "Next contact",
            Moment(),
            aliases=("下次联系时间", "下次跟进时间", "follow up", "next follow up"),
        ),
        Target("estimatedAmount", "Estimated amount", Amount(), aliases=("预计金额", "amount")),
        Target("tags", "Tags", Tags(), aliases=("标签",)),
        Target("externalKey", "External key", Text(100), aliases=("编号", "id", "external id")),
        Target("sourceDetail", "Source detail", Text(200), aliases=("来源说明", "来源备注")),
        *(
            Target(field, f"UTM {name}", Text(200), aliases=(f"utm_{name}", f"utm{name}"))
            for field, name in _UTM.items()
        ),
        Target("referrer", "Referrer", Text(2048), aliases=("来路", "来源页面", "referer")),
        Target("landingPage", "Landing page", Text(2048), aliases=("落地页", "着陆页")),
        Target("clickId", "Click id", Text(500), aliases=("点击编号", "gclid", "bd_vid")),
        Target(
            "notes",
            "Notes",
            Text(10000, several_lines=True),
            aliases=("备注", "remark", "description", "描述"),
        ),
    ),
    save=save,
    custom_fields=CUSTOM_FIELDS,
    resolvers=owners_under("leads"),
    undo=Undo(Lead, _remove, _change, _dealt_with),
    progressed=ImportProgressed,
    country=home_country_of,
    value_lists=VALUE_LISTS,
    known_lists=remembered,
)
