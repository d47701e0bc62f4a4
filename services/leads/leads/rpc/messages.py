"""Rows as messages."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from kehu.leads.v1 import conversion_pb2, lead_pb2

from chassis.mapping import Mapping

LEAD = Mapping(lead_pb2.Lead, skip=["utm"])
CONVERSION = Mapping(conversion_pb2.Conversion)
_UTM = [field.name for field in lead_pb2.UtmParameters.DESCRIPTOR.fields]


def lead_message(row: Any) -> lead_pb2.Lead:
    """A lead; `row` is a row object or a row of the read path."""
    message = LEAD.message(row)
    utm = row["utm"] if hasattr(row, "keys") else row.utm
    if utm:
        message.utm.CopyFrom(lead_pb2.UtmParameters(**utm))
    return message


def lead_values(message: lead_pb2.Lead, mask: FieldMask | None = None) -> dict[str, Any]:
    """Column → value of what a client writes."""
    if mask is None:
        return {**LEAD.values(message), "utm": _utm(message)}
    named = {path.split(".")[0] for path in mask.paths}
    rest = [path for path in mask.paths if path.split(".")[0] != "utm"]
    values = LEAD.values(message, FieldMask(paths=rest)) if rest or not named else {}
    if "utm" in named or (not named and message.HasField("utm")):
        values["utm"] = _utm(message)
    return values


def _utm(message: lead_pb2.Lead) -> dict[str, str]:
    return {name: getattr(message.utm, name) for name in _UTM if getattr(message.utm, name)}
