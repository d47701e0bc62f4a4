"""Leads as files."""

from chassis.exports.columns import CREATE_TIME, RECORD_ID, Amount, Choice, Column, Reference
from chassis.exports.rpc import Exporter, Exports
from leads.imports import LEADS as IMPORTER
from leads.rpc.leads import LEADS

_STATUSES = {
    "NEW": ("New", "新线索"), "CONTACTED": ("Contacted", "已联系"), "QUALIFIED": ("Qualified", "已确认"),
    "CONVERTING": ("Converting", "转化中"), "CONVERTED": ("Converted", "已转化"), "DISQUALIFIED": ("Disqualified", "无效"),
}  # fmt: skip
_SOURCES = {
    "WEB_FORM": ("Web form", "网站"), "PHONE": ("Phone", "电话"), "EMAIL": ("E-mail", "邮件"), "REFERRAL": ("Referral", "转介绍"),
    "ADVERTISEMENT": ("Advertisement", "广告"), "SEARCH": ("Search", "搜索"), "SOCIAL_MEDIA": ("Social media", "社交媒体"),
    "EXHIBITION": ("Exhibition", "展会"), "PARTNER": ("Partner", "伙伴"), "COLD_CALL": ("Cold call", "陌拜"),
    "PURCHASED_LIST": ("Purchased list", "购买名单"), "OTHER": ("Other", "其他"), "SURVEY": ("Survey", "问卷"),
    "BUSINESS_CARD": ("Business card", "名片"),
}  # fmt: skip

EXPORTS = Exports(
    Exporter(
        LEADS,
        "Leads",
        "线索",
        (
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
            Choice("source", "Source", "来源", "source", _SOURCES),
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
        ),
        importer=IMPORTER,
    )
)
