"""The fields of leads by which lists are filtered and by which rules say what leads they are about.

A condition has one meaning, whether a lead at hand is looked at (`holds`) or the table is searched (`where`). It may name custom
fields of leads that are filterable. When such a field is so no longer, nobody knows what the condition would say: it holds
for no lead.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache, partial

from chassis.custom_fields.definitions import definitions
from chassis.custom_fields.given import PREFIX
from chassis.custom_fields.known import NONE, Definitions
from chassis.custom_fields.lists import Parameter, condition, held
from chassis.database import Transaction
from chassis.errors import Invalid, Precondition
from chassis.fields import Field, Kind, Sql, Test, at_hand, predicate
from chassis.filters import Comparison, parse
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS
from leads.value_lists import FILTERED, SOURCES, VALUE_LISTS
from leads.words import ACCEPTANCES, CHANNELS, DISQUALIFY_REASONS, STATUSES

LISTED: Mapping[str, Field] = {
    **RECORD_FIELDS,
    **OWNER_FIELDS,
    "name": Field("name", Kind.TEXT, sortable=True),
    "companyName": Field("company_name", Kind.TEXT, sortable=True),
    "status": Field("status", Kind.ENUM, values=STATUSES, prefix="LEAD_STATUS_"),
    "source": Field("source", Kind.ENUM, values=SOURCES, prefix="LEAD_SOURCE_"),
    "sourceKey": Field("source", Kind.TEXT),
    "sourceDetail": Field("source_detail", Kind.TEXT),
    "campaignId": Field("campaign_id", Kind.UUID, nullable=True),
    "formId": Field("form_id", Kind.UUID, nullable=True),
    "industry": Field("industry", Kind.TEXT),
    "region": Field("region", Kind.TEXT),
    "title": Field("title", Kind.TEXT),
    "department": Field("department", Kind.TEXT),
    "phone": Field("phone", Kind.TEXT),
    "email": Field("email", Kind.TEXT),
    "score": Field("score", Kind.INTEGER, sortable=True),
    "estimatedAmount": Field(
        "estimated_amount", Kind.MONEY, nullable=True, currency_column="estimated_amount_currency"
    ),
    "tags": Field("tags", Kind.TAGS),
    "externalKey": Field("external_key", Kind.TEXT),
    "disqualifyReason": Field(
        "disqualify_reason", Kind.ENUM, values=DISQUALIFY_REASONS, prefix="DISQUALIFY_REASON_"
    ),
    "contactCount": Field("contact_count", Kind.INTEGER),
    "firstContactTime": Field("first_contact_time", Kind.TIMESTAMP, nullable=True),
    "qualifyTime": Field("qualify_time", Kind.TIMESTAMP, nullable=True),
    "convertTime": Field("convert_time", Kind.TIMESTAMP, nullable=True),
    "lastContactTime": Field("last_contact_time", Kind.TIMESTAMP, sortable=True, nullable=True),
    "nextContactTime": Field("next_contact_time", Kind.TIMESTAMP, sortable=True, nullable=True),
    "assignmentRuleId": Field("assignment_rule_id", Kind.UUID, nullable=True),
    "acceptance": Field("acceptance", Kind.ENUM, values=ACCEPTANCES, prefix="ACCEPTANCE_STATE_"),
    "cadenceId": Field("cadence_id", Kind.UUID, nullable=True),
    "nextContactChannel": Field(
        "next_contact_channel", Kind.ENUM, values=CHANNELS, prefix="CONTACT_CHANNEL_"
    ),
    "utmSource": Field("utm_source", Kind.TEXT),
    "utmMedium": Field("utm_medium", Kind.TEXT),
    "utmCampaign": Field("utm_campaign", Kind.TEXT),
    "referrer": Field("referrer", Kind.TEXT),
    "landingPage": Field("landing_page", Kind.TEXT),
    "clickId": Field("click_id", Kind.TEXT),
    "captureCount": Field("capture_count", Kind.INTEGER),
    "lastCaptureTime": Field("last_capture_time", Kind.TIMESTAMP, nullable=True),
    "lastSource": Field("last_source", Kind.ENUM, values=SOURCES, prefix="LEAD_SOURCE_"),
    "lastSourceKey": Field("last_source", Kind.TEXT),
    "lastCampaignId": Field("last_campaign_id", Kind.UUID, nullable=True),
    "duplicateOfLeadId": Field("duplicate_of_lead_id", Kind.UUID, nullable=True),
    "duplicateOfCustomerId": Field("duplicate_of_customer_id", Kind.UUID, nullable=True),
}
"""What lists of leads are filtered and ordered by."""

_HANDLING = frozenset({"assignmentRuleId", "acceptance", "cadenceId", "nextContactChannel"})
ABOUT: Mapping[str, Field] = {
    name: field
    for name, field in LISTED.items()
    # When a lead was last written and by whom is not known before it is written.
    if name not in _HANDLING and name not in ("updateTime", "updaterId")
}
"""What rules may ask about a lead."""
SCORED: Mapping[str, Field] = {name: field for name, field in ABOUT.items() if name != "score"}
"""What rules of scores may ask: anything but the score."""


async def fields_of(tx: Transaction, conditions: Iterable[str]) -> Definitions:
    """The custom fields of leads, if one of the conditions names any."""
    return await definitions(tx, "lead") if any(PREFIX in text for text in conditions) else NONE


async def check(tx: Transaction, text: str, fields: Mapping[str, Field], field: str) -> str:
    """The condition, tidied. Raises Invalid (FILTER_INVALID, VALUE_UNKNOWN) naming `field`."""
    custom = await fields_of(tx, [text])
    try:
        at_hand(parse(text), fields, partial(held, custom))
    except Invalid as wrong:
        raise Invalid(field, wrong.violations[0].description, reason=wrong.reason) from None
    await VALUE_LISTS.check_filter(tx, text, FILTERED, field)
    return text.strip()


def holds(text: str, lead: object, custom: Definitions) -> bool:
    """Whether the condition of a rule holds for the lead; `custom` are the custom fields that it may name."""
    if PREFIX not in text:
        return _plain(text)(partial(getattr, lead))
    try:
        test = at_hand(parse(text), ABOUT, partial(held, custom))
    except Invalid:
        return False
    return test(partial(getattr, lead))


@lru_cache(maxsize=4096)
def _plain(text: str) -> Test:
    return at_hand(parse(text), ABOUT)


async def where(tx: Transaction, text: str, first: int) -> Sql:
    """The condition as SQL over the table `t`, its parameters numbered from `first`."""
    custom = await fields_of(tx, [text])

    def own(part: Comparison, positive: bool, alias: str, parameter: Parameter) -> str:
        return condition(custom, part, positive, alias, parameter)

    try:
        return predicate(parse(text), ABOUT, first, own=own)
    except (Invalid, Precondition):  # it may also be on its way into the index
        return Sql("false", ())
