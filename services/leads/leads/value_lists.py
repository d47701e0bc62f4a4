"""Where leads come from: what a tenant offers for it, and which value a caller means.

Sources are an enum of the contract as well. The column holds the key of the list's value; the enum is a view of it, which shows
what the contract names.
"""

from collections.abc import Mapping
from typing import Any

from chassis.database import Transaction
from chassis.value_lists.kinds import ListKind, Named, Used, built_in
from chassis.value_lists.value_list import ValueLists

_SOURCE = ListKind(
    "source", "线索来源", "Lead source",
    (
        built_in("WEB_FORM", "网站", "Web form"), built_in("PHONE", "电话", "Phone"), built_in("EMAIL", "邮件", "E-mail"),
        built_in("REFERRAL", "转介绍", "Referral"), built_in("ADVERTISEMENT", "广告", "Advertisement"),
        built_in("SEARCH", "搜索", "Search"), built_in("SOCIAL_MEDIA", "社交媒体", "Social media"),
        built_in("EXHIBITION", "展会", "Exhibition"), built_in("PARTNER", "伙伴", "Partner"),
        built_in("COLD_CALL", "陌拜", "Cold call"), built_in("PURCHASED_LIST", "购买名单", "Purchased list"),
        built_in("OTHER", "其他", "Other"), built_in("SURVEY", "问卷", "Survey"),
        built_in("BUSINESS_CARD", "名片", "Business card"),
    ),
    used=(
        Used("leads", "source"), Used("leads", "last_source"), Used("lead_captures", "source"),
        Used("mail_captures", "lead_source_key"),
    ),
    closed=True,
)  # fmt: skip
FILTERED: Mapping[str, str] = {"sourceKey": "source", "lastSourceKey": "source"}
"""The fields of leads that conditions and filters compare with values, and the keys of their lists."""
VALUE_LISTS = ValueLists(
    _SOURCE,
    named={
        "source": [
            Named("assignment_rules", "condition", "assignment rules", tuple(FILTERED)),
            Named("score_rules", "condition", "score rules", tuple(FILTERED)),
            Named("cadences", "condition", "cadences", tuple(FILTERED)),
            Named("lead_handling", "reclaim_condition", "rules of the pool", tuple(FILTERED)),
            Named("saved_views", "filter", "saved views", tuple(FILTERED), of_type="lead", shared=True),
        ]
    },
)
SOURCES = tuple(value.key for value in _SOURCE.values)
"""What the contract names."""


enum_view = _SOURCE.enum_view
"""What the enum shows of a source; None for one that only the tenant's list has."""


async def sourced(tx: Transaction, values: Mapping[str, Any], present: Any = None) -> dict[str, Any]:
    """What a caller wrote, with the source as the key of the list's value; `present` is the lead that is there, if one is.

    Raises Invalid (VALUE_UNKNOWN, VALUE_RETIRED, VALUE_MISMATCH). What comes by itself never fails by a list: it counts as
    what the enum says.
    """
    out = dict(values)
    enum, key = values.get("source"), out.pop("source_key", None)
    held = getattr(present, "source", "") if present is not None else ""
    by_itself = tx.who.service is not None
    if by_itself and key:
        known = await source_key(tx, key, held, "lead.sourceKey", lenient=True)
        if known in (await VALUE_LISTS.within(tx)).by_key["source"].keys:
            return {**out, "source": known}
        key = None
    meant = _SOURCE.meant("source", enum, key, held, "lead")
    if meant is None:
        return out
    out["source"] = await source_key(
        tx, meant, held, "lead.sourceKey" if key else "lead.source", lenient=by_itself
    )
    return out


async def source_key(tx: Transaction, text: str, held: str, field: str, *, lenient: bool = False) -> str:
    """The key of the source that a text is or names; an empty one stays empty. Raises Invalid (VALUE_UNKNOWN, VALUE_RETIRED)."""
    if not text or text == held:
        return text
    return (await VALUE_LISTS.within(tx)).key("source", text, held, field, lenient=lenient)
