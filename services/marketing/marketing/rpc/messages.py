"""Rows as messages."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from kehu.marketing.v1 import campaign_audience_pb2, campaign_member_pb2, campaign_pb2, web_form_pb2

from chassis.mapping import Mapping
from marketing.attribution import NONE, Results
from marketing.form import FormField, fields_of, rows_of

CAMPAIGN = Mapping(
    campaign_pb2.Campaign,
    skip=["member_count", "responded_count", "lead_count", "converted_lead_count"],
)
MEMBER = Mapping(campaign_member_pb2.CampaignMember)
AUDIENCE = Mapping(campaign_audience_pb2.CampaignAudience)
FORM = Mapping(web_form_pb2.WebForm, skip=["fields"])
_KIND, _LEAD_FIELD = "FORM_FIELD_KIND_", "LEAD_FIELD_"


def campaign_message(row: Any, results: Results = NONE) -> campaign_pb2.Campaign:
    """A campaign with what became of it; `row` is a row object or a row of the read path."""
    message = CAMPAIGN.message(row)
    message.member_count = results.members
    message.responded_count = results.responded
    message.lead_count = results.leads
    message.converted_lead_count = results.converted
    return message


def form_message(row: Any) -> web_form_pb2.WebForm:
    """A form with its fields."""
    message = FORM.message(row)
    for one in fields_of(row["fields"] if hasattr(row, "keys") else row.fields):
        message.fields.add(
            key=one.key, label=one.label, kind=web_form_pb2.FormFieldKind.Value(_KIND + one.kind), required=one.required,
            placeholder=one.placeholder, choices=one.choices,
            lead_field=web_form_pb2.LeadField.Value(_LEAD_FIELD + (one.lead_field or "UNSPECIFIED")),
        )  # fmt: skip
    return message


def form_values(message: web_form_pb2.WebForm, mask: FieldMask | None = None) -> dict[str, Any]:
    """Column → value of what a client writes."""
    if mask is None:
        return {**FORM.values(message), "fields": _fields(message)}
    named = {path.split(".")[0] for path in mask.paths}
    rest = [path for path in mask.paths if path.split(".")[0] != "fields"]
    values = FORM.values(message, FieldMask(paths=rest)) if rest or not named else {}
    if "fields" in named or "*" in named or (not named and message.fields):
        values["fields"] = _fields(message)
    return values


def _fields(message: web_form_pb2.WebForm) -> list[dict[str, Any]]:
    return rows_of([
        FormField(
            key=one.key, label=one.label.strip(), kind=web_form_pb2.FormFieldKind.Name(one.kind).removeprefix(_KIND),
            required=one.required, placeholder=one.placeholder.strip(), choices=[c.strip() for c in one.choices],
            lead_field=web_form_pb2.LeadField.Name(one.lead_field).removeprefix(_LEAD_FIELD) if one.lead_field else "",
        )
        for one in message.fields
    ])  # fmt: skip
