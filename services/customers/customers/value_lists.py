"""What tenants offer for fields of customers and contacts, and which value a written text means.

Size, level, stage and source are enums of the contract as well. The column holds the key of the list's value; the enum is a
view of it, which shows what the contract names.
"""

from collections.abc import Mapping
from typing import Any

from chassis.database import Transaction
from chassis.value_lists.kinds import ListKind, Named, Used, built_in, offered
from chassis.value_lists.value_list import ValueLists

_SIZE = ListKind(
    "size", "规模", "Size",
    (
        built_in("MICRO", "微型", "Micro"), built_in("SMALL", "小型", "Small"), built_in("MEDIUM", "中型", "Medium"),
        built_in("LARGE", "大型", "Large"),
    ),
    used=(Used("customers", "size"),), closed=True,
)  # fmt: skip
_LEVEL = ListKind(
    "level", "级别", "Level",
    (
        built_in("A", "A 级", "Level A"), built_in("B", "B 级", "Level B"), built_in("C", "C 级", "Level C"),
        built_in("D", "D 级", "Level D"),
    ),
    used=(Used("customers", "level"),), closed=True,
)  # fmt: skip
_STAGE = ListKind(
    "stage", "关系阶段", "Relationship stage",
    (
        built_in("PROSPECT", "潜在客户", "Prospect"), built_in("ACTIVE", "成交客户", "Active"),
        built_in("DORMANT", "沉睡客户", "Dormant"), built_in("LOST", "流失客户", "Lost"),
    ),
    used=(Used("customers", "stage"),), closed=True,
)  # fmt: skip
_SOURCE = ListKind(
    "source", "来源", "Source",
    (
        built_in("WEB_FORM", "网站表单", "Web form"), built_in("PHONE", "来电", "Phone call"),
        built_in("EMAIL", "邮件", "E-mail"), built_in("REFERRAL", "转介绍", "Referral"),
        built_in("ADVERTISEMENT", "广告", "Advertisement"), built_in("SEARCH", "搜索引擎", "Search engine"),
        built_in("SOCIAL_MEDIA", "社交媒体", "Social media"), built_in("EXHIBITION", "展会", "Exhibition"),
        built_in("PARTNER", "合作伙伴", "Partner"), built_in("COLD_CALL", "陌生拜访", "Cold call"),
        built_in("PURCHASED_LIST", "购买名单", "Purchased list"), built_in("OTHER", "其他", "Other"),
    ),
    used=(Used("customers", "source"),), closed=True,
)  # fmt: skip
_TYPE = ListKind(
    "type", "客户类型", "Type of customer",
    (
        offered("end_customer", "最终用户", "End customer"), offered("distributor", "经销商", "Distributor"),
        offered("integrator", "集成商", "Systems integrator"), offered("manufacturer", "生产商", "Manufacturer"),
        offered("public_body", "政府机关与事业单位", "Public body"), offered("investor", "投资方", "Investor"),
        offered("other", "其他", "Other"),
    ),
    used=(Used("customers", "type"),),
)  # fmt: skip
# The sections of GB/T 4754-2017, the national classification of industries, which follow those of ISIC.
_INDUSTRY = ListKind(
    "industry", "行业", "Industry",
    (
        offered("agriculture", "农林牧渔业", "Agriculture, forestry and fishing"), offered("mining", "采矿业", "Mining"),
        offered("manufacturing", "制造业", "Manufacturing"),
        offered("utilities", "电力、热力、燃气及水生产和供应业", "Utilities"),
        offered("construction", "建筑业", "Construction"), offered("trade", "批发和零售业", "Wholesale and retail trade"),
        offered("transport", "交通运输、仓储和邮政业", "Transport, storage and post"),
        offered("hospitality", "住宿和餐饮业", "Accommodation and catering"),
        offered("information_technology", "信息传输、软件和信息技术服务业", "Information technology"),
        offered("finance", "金融业", "Finance"), offered("real_estate", "房地产业", "Real estate"),
        offered("business_services", "租赁和商务服务业", "Leasing and business services"),
        offered("science", "科学研究和技术服务业", "Research and technical services"),
        offered("environment", "水利、环境和公共设施管理业", "Water, environment and public facilities"),
        offered("personal_services", "居民服务、修理和其他服务业", "Household and repair services"),
        offered("education", "教育", "Education"), offered("health", "卫生和社会工作", "Health and social work"),
        offered("culture", "文化、体育和娱乐业", "Culture, sports and entertainment"),
        offered("government", "公共管理、社会保障和社会组织", "Public administration and organisations"),
        offered("international", "国际组织", "International organisations"),
    ),
    used=(Used("customers", "industry"),), accepts_others=True,
)  # fmt: skip
_REGION = ListKind(
    "region", "区域", "Region",
    (
        offered("north_china", "华北", "North China"), offered("northeast_china", "东北", "Northeast China"),
        offered("east_china", "华东", "East China"), offered("central_china", "华中", "Central China"),
        offered("south_china", "华南", "South China"), offered("southwest_china", "西南", "Southwest China"),
        offered("northwest_china", "西北", "Northwest China"),
        offered("hk_mo_tw", "港澳台", "Hong Kong, Macao and Taiwan"), offered("overseas", "海外", "Overseas"),
    ),
    used=(Used("customers", "region"),), accepts_others=True,
)  # fmt: skip
_PHONE_LABEL = ListKind(
    "phone_label", "电话类型", "Kind of telephone number",
    (
        offered("mobile", "手机", "Mobile"), offered("work", "办公", "Work"), offered("switchboard", "总机", "Switchboard"),
        offered("home", "住宅", "Home"), offered("fax", "传真", "Fax"), offered("other", "其他", "Other"),
    ),
    used=(
        Used("contacts", "phones", "label"), Used("customers", "phone_label"), Used("customers", "other_phones", "label"),
    ),
    accepts_others=True,
)  # fmt: skip
_EMAIL_LABEL = ListKind(
    "email_label", "邮箱类型", "Kind of e-mail address",
    (
        offered("work", "工作", "Work"), offered("private", "私人", "Private"), offered("billing", "财务", "Billing"),
        offered("support", "客服", "Support"), offered("other", "其他", "Other"),
    ),
    used=(
        Used("contacts", "emails", "label"), Used("customers", "email_label"), Used("customers", "other_emails", "label"),
    ),
    accepts_others=True,
)  # fmt: skip
_ADDRESS_LABEL = ListKind(
    "address_label", "地址类型", "Kind of address",
    (
        offered("office", "办公地址", "Office"), offered("registered", "注册地址", "Registered office"),
        offered("billing", "开票地址", "Billing"), offered("shipping", "收货地址", "Shipping"),
        offered("home", "家庭住址", "Home"), offered("other", "其他", "Other"),
    ),
    used=(
        Used("contacts", "addresses", "label"), Used("customers", "address_label"),
        Used("customers", "other_addresses", "label"),
    ),
    accepts_others=True,
)  # fmt: skip
_ACCOUNT_LABEL = ListKind(
    "account_label", "即时通讯", "Messenger",
    (
        offered("wechat", "微信", "WeChat"), offered("wecom", "企业微信", "WeCom"), offered("qq", "QQ", "Tencent QQ"),
        offered("dingtalk", "钉钉", "DingTalk"), offered("feishu", "飞书", "Feishu"), offered("whatsapp", "WhatsApp", ""),
        offered("line", "LINE", ""), offered("telegram", "Telegram", ""), offered("skype", "Skype", ""),
        offered("other", "其他", "Other"),
    ),
    used=(
        Used("customers", "accounts", "label"), Used("contacts", "account_label"), Used("contacts", "other_accounts", "label"),
    ),
    accepts_others=True,
)  # fmt: skip
_PARTNER_TYPE = ListKind(
    "partner_type", "伙伴类型", "Kind of partner",
    (
        offered("supplier", "供应商", "Supplier"), offered("distributor", "经销商", "Distributor"),
        offered("reseller", "代理商", "Reseller"), offered("service_partner", "服务商", "Service partner"),
        offered("technology_partner", "技术伙伴", "Technology partner"),
        offered("referral_partner", "推荐伙伴", "Referral partner"), offered("other", "其他", "Other"),
    ),
    used=(Used("partners", "type"),),
)  # fmt: skip
_DISCOUNT_LEVEL = ListKind(
    "discount_level", "折扣等级", "Discount level",
    (
        offered("gold", "金牌", "Gold"), offered("silver", "银牌", "Silver"), offered("bronze", "铜牌", "Bronze"),
        offered("standard", "标准", "Standard"),
    ),
    used=(Used("partners", "discount_level"),),
)  # fmt: skip

FILTERED: Mapping[str, str] = {
    "levelKey": "level", "stageKey": "stage", "sourceKey": "source", "sizeKey": "size", "industry": "industry",
    "region": "region", "type": "type",
}  # fmt: skip
"""The fields of customers that filters compare with values, and the keys of their lists."""
_NAMED: dict[str, list[Named]] = {
    key: [
        Named("segments", "filter", "segments", (name,)),
        Named("saved_views", "filter", "saved views", (name,), of_type="customer", shared=True),
    ]
    for name, key in FILTERED.items()
}
_NAMED["level"].append(Named("pool_rules", "kept_level_keys", "rules of the pool"))
_NAMED["stage"].append(Named("pool_rules", "kept_stage_keys", "rules of the pool"))
VALUE_LISTS = ValueLists(
    _TYPE, _INDUSTRY, _LEVEL, _STAGE, _SOURCE, _SIZE, _REGION, _PHONE_LABEL, _EMAIL_LABEL, _ADDRESS_LABEL, _ACCOUNT_LABEL,
    _PARTNER_TYPE, _DISCOUNT_LEVEL, named=_NAMED,
)  # fmt: skip
_SHOWN = {kind.key: kind for kind in (_SIZE, _LEVEL, _STAGE, _SOURCE)}
ENUMS: Mapping[str, frozenset[str]] = {column: kind.built_in for column, kind in _SHOWN.items()}
"""The columns that an enum of the contract shows, and what it names."""
_CLASSES = ("type", "industry", "region", *ENUMS)
_LABELS = {
    "phones": "phone_label", "emails": "email_label", "addresses": "address_label", "accounts": "account_label",
}  # fmt: skip


def enum_view(column: str, key: str) -> str | None:
    """What the enum shows of a value; None for one that only the tenant's list has."""
    return _SHOWN[column].enum_view(key)


async def first_stage(tx: Transaction) -> str:
    """The stage of a customer of whom nobody said one: a prospect, and none where the tenant offers that no more."""
    stages = (await VALUE_LISTS.within(tx)).by_key[_STAGE.key].values
    return next((value.key for value in stages if value.key == "PROSPECT" and not value.retired), "")


async def prospects_become_active(tx: Transaction) -> bool:
    """Whether a prospect that buys is ACTIVE by the tenant's words, too: that is offered, and PROSPECT is what it came as."""
    stages = {value.key: value for value in (await VALUE_LISTS.within(tx)).by_key[_STAGE.key].values}
    return not stages["ACTIVE"].retired and stages["PROSPECT"] in _STAGE.values


async def listed(tx: Transaction, values: Mapping[str, Any], present: Any, resource: str) -> dict[str, Any]:
    """What a caller wrote, with keys of the lists' values; `present` is the record that is there, if one is.

    Raises Invalid (VALUE_UNKNOWN, VALUE_RETIRED, VALUE_MISMATCH).
    """
    out = {name: value for name, value in values.items() if name.removesuffix("_key") not in ENUMS}
    written = {name: values[name] for name in _CLASSES if name not in ENUMS and name in values}
    for column, kind in _SHOWN.items():
        enum, key = values.get(column), values.get(f"{column}_key")
        meant = kind.meant(column, enum, key, getattr(present, column, ""), resource)
        if meant is not None:
            written[column] = meant
    labelled = {
        name: values[name] for name in _LABELS if any(entry["label"] for entry in values.get(name, ()))
    }
    if not any(written.values()) and not labelled:
        return {**out, **written}
    lists = await VALUE_LISTS.within(tx)
    # A form or a conversion that runs by itself must not fail because a list was closed an hour ago.
    lenient = tx.who.service not in (None, "customers")
    for column, text in written.items():
        # What is refused is named as the caller wrote it.
        name = f"{column}Key" if text == values.get(f"{column}_key") else column
        field = f"{resource}.{name}"
        out[column] = lists.key(column, text, getattr(present, column, ""), field, lenient=lenient)
    for name, entries in labelled.items():
        had = {entry["label"] for entry in present.entries(name)} if present is not None else set[str]()
        out[name] = [
            {
                **entry,
                "label": lists.key(
                    _LABELS[name], entry["label"], entry["label"] if entry["label"] in had else "",
                    f"{resource}.{name}[{place}].label", lenient=lenient,
                ),
            }
            for place, entry in enumerate(entries)
        ]  # fmt: skip
    return out
