"""The fields of leads by which lists are filtered and by which rules say what leads they are about.

A condition has one meaning, whether a lead at hand is looked at (`holds`) or the table is searched (`predicate`).
"""

from collections.abc import Mapping
from functools import lru_cache, partial

from chassis.errors import Invalid
from chassis.fields import Field, Kind, Sql, Test, at_hand, predicate
from chassis.filters import parse
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS
from leads.words import ACCEPTANCES, CHANNELS, SOURCES, STATUSES

LISTED: Mapping[str, Field] = {
    **RECORD_FIELDS,
    **OWNER_FIELDS,
    "name": Field("name", Kind.TEXT, sortable=True),
    "companyName": Field("company_name", Kind.TEXT, sortable=True),
    "status": Field("status", Kind.ENUM, values=STATUSES, prefix="LEAD_STATUS_"),
    "source": Field("source", Kind.ENUM, values=SOURCES, prefix="LEAD_SOURCE_"),
    "campaignId": Field("campaign_id", Kind.UUID, nullable=True),
    "formId": Field("form_id", Kind.UUID, nullable=True),
    "industry": Field("industry", Kind.TEXT),
    "region": Field("region", Kind.TEXT),
    "email": Field("email", Kind.TEXT),
    "score": Field("score", Kind.INTEGER, sortable=True),
    "tags": Field("tags", Kind.TAGS),
    "externalKey": Field("external_key", Kind.TEXT),
    "lastContactTime": Field("last_contact_time", Kind.TIMESTAMP, sortable=True, nullable=True),
    "nextContactTime": Field("next_contact_time", Kind.TIMESTAMP, sortable=True, nullable=True),
    "assignmentRuleId": Field("assignment_rule_id", Kind.UUID, nullable=True),
    "acceptance": Field("acceptance", Kind.ENUM, values=ACCEPTANCES, prefix="ACCEPTANCE_STATE_"),
    "cadenceId": Field("cadence_id", Kind.UUID, nullable=True),
    "nextContactChannel": Field(
        "next_contact_channel", Kind.ENUM, values=CHANNELS, prefix="CONTACT_CHANNEL_"
    ),
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


def check(condition: str, fields: Mapping[str, Field], field: str) -> str:
    """The condition, tidied. Raises Invalid (FILTER_INVALID) naming `field`."""
    try:
        predicate(parse(condition), fields)
    except Invalid as wrong:
        raise Invalid(field, wrong.violations[0].description, reason=wrong.reason) from None
    return condition.strip()


def holds(condition: str, lead: object) -> bool:
    """Whether the condition of a rule holds for the lead."""
    return _test(condition)(partial(getattr, lead))


@lru_cache(maxsize=4096)
def _test(condition: str) -> Test:
    return at_hand(parse(condition), ABOUT)


def where(condition: str, first: int) -> Sql:
    """The condition as SQL over the table `t`, its parameters numbered from `first`."""
    return predicate(parse(condition), ABOUT, first)
