"""The same rules as JSON Schema keywords (draft 2020-12), for the OpenAPI document."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from kehu.rules.v1 import rules_pb2

from chassis.validation.rules import is_map, is_number, rules_of, target_of

_FORMATS: dict[int, dict[str, Any]] = {
    rules_pb2.FORMAT_UUID: {"format": "uuid"},
    rules_pb2.FORMAT_EMAIL: {"format": "email", "maxLength": 254},
    rules_pb2.FORMAT_PHONE: {"pattern": r"^[0-9 +().\-/]+(( *(x|X|#|ext\.?) *|;ext=)[0-9]{1,8})?$"},
    rules_pb2.FORMAT_CURRENCY: {"pattern": "^[A-Z]{3}$"},
    rules_pb2.FORMAT_URL: {"format": "uri", "maxLength": 2048},
    rules_pb2.FORMAT_ORIGIN: {"format": "uri", "maxLength": 2048},
    rules_pb2.FORMAT_DECIMAL: {"pattern": r"^-?[0-9]{1,15}(\.[0-9]+)?$"},
    rules_pb2.FORMAT_SLUG: {"pattern": "^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$"},
    rules_pb2.FORMAT_COUNTRY: {"pattern": "^[A-Z]{2}$"},
}


def keywords(field: FieldDescriptor) -> tuple[dict[str, Any], dict[str, Any]]:
    """`(keywords of a value, keywords of the list or map around it)`; the second is empty for a singular
    field.
    """
    rules = rules_of(field)
    target = target_of(field)
    value: dict[str, Any] = {}
    if target.type == FieldDescriptor.TYPE_STRING:
        value |= _FORMATS.get(rules.format, {})
        if rules.min_length:
            value["minLength"] = rules.min_length
        if rules.max_length:
            value["maxLength"] = min(rules.max_length, value.get("maxLength", rules.max_length))
        if rules.pattern:
            value["pattern"] = f"^(?:{rules.pattern})$"
    elif is_number(target):
        for set_, limit, keyword in (
            (rules.HasField("gte"), rules.gte, "minimum"),
            (rules.HasField("gt"), rules.gt, "exclusiveMinimum"),
            (rules.HasField("lte"), rules.lte, "maximum"),
            (rules.HasField("lt"), rules.lt, "exclusiveMaximum"),
        ):
            if set_:
                value[keyword] = int(limit) if limit.is_integer() else limit
    if rules.secret:
        # Not writeOnly: a secret that is made here (a key, a one-time password) is told once, in an answer.
        value["format"] = "password"
    around: dict[str, Any] = {}
    if is_map(field):
        around = _counts(rules, "minProperties", "maxProperties")
    elif field.is_repeated:
        around = _counts(rules, "minItems", "maxItems")
        if rules.unique:
            around["uniqueItems"] = True
    return value, around


def _counts(rules: rules_pb2.FieldRules, fewest: str, most: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if rules.min_items:
        out[fewest] = rules.min_items
    if rules.max_items:
        out[most] = rules.max_items
    return out
