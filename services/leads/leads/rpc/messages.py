"""Rows as messages."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from kehu.leads.v1 import assignment_pb2, cadence_pb2, conversion_pb2, lead_pb2, score_pb2

from chassis.errors import Invalid
from chassis.mapping import Mapping
from leads.cadence import kept
from leads.handling import Step

LEAD = Mapping(
    lead_pb2.Lead, skip=["utm", "source_key", "last_source_key"], open_enums=["source", "last_source"]
)
CAPTURE = Mapping(lead_pb2.LeadCapture, skip=["utm", "answers", "source_key"], open_enums=["source"])
CONVERSION = Mapping(conversion_pb2.Conversion)
RULE = Mapping(assignment_pb2.AssignmentRule)
ABSENCE = Mapping(assignment_pb2.Absence)
HANDLING = Mapping(assignment_pb2.LeadHandling)
CADENCE = Mapping(cadence_pb2.Cadence, skip=["steps"])
TOUCH = Mapping(cadence_pb2.LeadTouch)
SCORE_RULE = Mapping(score_pb2.ScoreRule)
_UTM = [field.name for field in lead_pb2.UtmParameters.DESCRIPTOR.fields]


def lead_message(row: Any) -> lead_pb2.Lead:
    """A lead; `row` is a row object or a row of the read path."""
    message = LEAD.message(row)
    read: Any = row.__getitem__ if hasattr(row, "keys") else row.__getattribute__
    message.source_key, message.last_source_key = read("source"), read("last_source")
    utm = read("utm")
    if utm:
        message.utm.CopyFrom(lead_pb2.UtmParameters(**utm))
    return message


def cadence_message(row: Any) -> cadence_pb2.Cadence:
    """A cadence with its steps."""
    message = CADENCE.message(row)
    for step in row["steps"] if hasattr(row, "keys") else row.steps:
        channel = cadence_pb2.ContactChannel.Value(f"CONTACT_CHANNEL_{step['channel']}")
        message.steps.add(**{**step, "channel": channel})
    return message


def cadence_values(message: cadence_pb2.Cadence, mask: FieldMask | None = None) -> dict[str, Any]:
    """Column → value of what a client writes."""
    values, named = _but(CADENCE, message, mask, "steps")
    if named:
        values["steps"] = kept([_step(step) for step in message.steps])
    return values


def _step(step: cadence_pb2.CadenceStep) -> Step:
    return Step(
        channel=cadence_pb2.ContactChannel.Name(step.channel).removeprefix("CONTACT_CHANNEL_"),
        delay_days=step.delay_days, delay_hours=step.delay_hours, hint_en=step.hint_en.strip(), hint_zh=step.hint_zh.strip(),
    )  # fmt: skip


def lead_values(message: lead_pb2.Lead, mask: FieldMask | None = None) -> dict[str, Any]:
    """Column → value of what a client writes. Raises Invalid (FIELD_NOT_WRITABLE)."""
    if mask is None:
        utm = {name: getattr(message.utm, name).strip() for name in _UTM}
        own = {
            "source_key": message.source_key.strip(),
            "utm": {name: value for name, value in utm.items() if value},
        }
        return {**LEAD.values(message), **own}
    if any(path.split(".")[0] == "utm" for path in mask.paths):
        raise Invalid("utm", "cannot be changed here", reason="FIELD_NOT_WRITABLE")
    values, named = _but(LEAD, message, mask, "source_key")
    if named:
        values["source_key"] = message.source_key.strip()
    return values


def capture_message(row: Any) -> lead_pb2.LeadCapture:
    """A capture; `row` is a row of the read path."""
    message = CAPTURE.message(row)
    message.source_key = row["source"]
    if row["utm"]:
        message.utm.CopyFrom(lead_pb2.UtmParameters(**row["utm"]))
    for one in row["answers"]:
        message.answers.add(**one)
    return message


def _but(
    mapping: Mapping[Any], message: Any, mask: FieldMask | None, name: str
) -> tuple[dict[str, Any], bool]:
    """The values of all fields but one that the mapping skips, and whether that one is to be written, too."""
    if mask is None:
        return mapping.values(message), True
    paths = [path.split(".")[0] for path in mask.paths]
    rest = [path for path in mask.paths if path.split(".")[0] != name]
    values = mapping.values(message, FieldMask(paths=rest)) if rest or not paths else {}
    present = any(field.name == name for field, _ in message.ListFields())
    return values, name in paths or "*" in paths or (not paths and present)
