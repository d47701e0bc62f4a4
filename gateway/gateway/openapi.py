"""The OpenAPI 3.1 document, derived from the contracts like the routes themselves."""

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from kehu.rules.v1 import rules_pb2
from kehu.search.v1 import search_pb2

from chassis.validation import keywords
from chassis.validation.rules import REQUIRED, behaviors, is_map
from chassis.wire import camel, descriptor_of
from gateway.contracts import Contracts
from gateway.routes import Route
from gateway.templates import Variable

_OUTPUT_ONLY = 3
_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "uint64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d+)?s$"},
    "google.protobuf.FieldMask": {"type": "string", "description": "Names of fields, joined by commas."},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
}
_FOREIGN: dict[str, str] = {
    "google.type.Money": "An amount of money.",
    "google.type.Money.currency_code": "The currency by ISO 4217, as CNY.",
    "google.type.Money.units": "Whole units of the currency.",
    "google.type.Money.nanos": "Billionths of a unit, with the sign of the units.",
    "google.type.Date": "A day of the calendar.",
    "google.type.Date.year": "The year, from 1 to 9999.",
    "google.type.Date.month": "The month, from 1 to 12.",
    "google.type.Date.day": "The day of the month, from 1 to 31.",
}
"""What is said of messages of others, whose comments do not come along."""
_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "reason", "traceId"],
    "properties": {
        "type": {"type": "string", "description": "An address that names the kind of problem."},
        "title": {"type": "string", "description": "The kind of problem in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong with which value, and what to do."},
        "reason": {"type": "string", "description": "The reason in UPPER_SNAKE case, for programs."},
        "instance": {"type": "string", "description": "The path that was asked for."},
        "traceId": {
            "type": "string",
            "description": "By which operators find the request in logs and traces.",
        },
        "violations": {
            "type": "array",
            "description": "The values that were refused.",
            "items": {
                "type": "object",
                "properties": {
                    "field": {
                        "type": "string",
                        "description": "The field in lowerCamelCase, with its place in the request.",
                    },
                    "description": {"type": "string", "description": "What is wrong with it."},
                },
            },
        },
        "metadata": {
            "type": "object",
            "description": "What programs may want to know of the reason, as counts and ids.",
            "additionalProperties": {"type": "string"},
        },
    },
}


class Document:
    """Collects the schemas of all messages that routes speak of."""

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts
        self.schemas: dict[str, Any] = {"Problem": _PROBLEM}

    def message(self, descriptor: Descriptor) -> dict[str, Any]:
        """A reference to the schema of that message, which is added when it is new."""
        known = _WELL_KNOWN.get(descriptor.full_name)
        if known is not None:
            return dict(known)
        name = descriptor.full_name.removeprefix("kehu.")
        if name not in self.schemas:
            schema: dict[str, Any] = {"type": "object"}
            self.schemas[name] = schema
            self._describe(schema, descriptor.full_name)
            schema["properties"] = {f.json_name: self.field(f) for f in descriptor.fields}
            required = [f.json_name for f in descriptor.fields if REQUIRED in behaviors(f)]
            if required:
                schema["required"] = required
        return {"$ref": f"#/components/schemas/{name}"}

    def request(self, route: Route) -> dict[str, Any]:
        """The schema of a route's body: without what comes from path and gateway; of a change, every field may be left out."""
        binding, descriptor = route.binding, descriptor_of(route.method.request)
        if binding.body != "*":
            field = descriptor.fields_by_name[binding.body]
            if not binding.has_mask or route.http_method != "PATCH" or field.message_type is None:
                return self.field(field)
            whole = self._resolved(self.message(field.message_type))
            name = f"{field.message_type.full_name.removeprefix('kehu.')}.Changes"
            self.schemas[name] = {key: value for key, value in whole.items() if key != "required"}
            return {"$ref": f"#/components/schemas/{name}"}
        elsewhere = binding.bound | {field.name for field, _ in binding.edges}
        taken = {field.json_name for field in descriptor.fields if field.name in elsewhere}
        reference = self.message(descriptor)
        if taken:
            schema = self._resolved(reference)
            for name in taken:
                schema["properties"].pop(name, None)
            left = [name for name in schema.get("required", ()) if name not in taken]
            schema.pop("required", None)
            if left:
                schema["required"] = left
        return reference

    def form(self, route: Route) -> dict[str, Any]:
        """The schema of a form whose last part is a file: what is said of it, in the order in which it has to come."""
        descriptor = descriptor_of(route.method.request)
        said = [
            f for f in descriptor.fields if f.name not in ("content", "complete", "filename", "request_id")
        ]
        file = {"type": "string", "contentMediaType": "*/*", "description": "The file, as the last part."}
        return {
            "type": "object",
            "properties": {**{f.json_name: self.field(f) for f in said}, "file": file},
            "required": [*(f.json_name for f in said if REQUIRED in behaviors(f)), "file"],
        }

    def _resolved(self, reference: dict[str, Any]) -> dict[str, Any]:
        return self.schemas[reference["$ref"].rpartition("/")[2]]

    def enum(self, descriptor: EnumDescriptor) -> dict[str, Any]:
        """A reference to the schema of that enum."""
        name = descriptor.full_name.removeprefix("kehu.")
        if name not in self.schemas:
            values = [value.name for value in descriptor.values]
            schema: dict[str, Any] = {"type": "string", "enum": values}
            self._describe(schema, descriptor.full_name)
            lines = [
                f"- `{v.name}`: {self._comment(f'{descriptor.full_name}.{v.name}')}"
                for v in descriptor.values
            ]
            schema["description"] = "\n".join([schema.get("description", ""), "", *lines]).strip()
            self.schemas[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor) -> dict[str, Any]:
        """The schema of one field, with its rules and its comment."""
        value, around = keywords(field)
        if is_map(field) and field.message_type is not None:
            inner = self._type(field.message_type.fields_by_name["value"])
            schema: dict[str, Any] = {"type": "object", "additionalProperties": {**inner, **value}, **around}
        elif field.is_repeated:
            schema = {"type": "array", "items": {**self._type(field), **value}, **around}
        else:
            schema = {**self._type(field), **value}
        if REQUIRED in behaviors(field):
            # What must have a value is not given one by an empty text or list.
            if field.is_repeated:
                schema.setdefault("minItems", 1)
            elif field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
                schema.setdefault("minLength", 1)
        self._describe(schema, field.full_name)
        if _OUTPUT_ONLY in behaviors(field):
            schema["readOnly"] = True
        return schema

    def _type(self, field: FieldDescriptor) -> dict[str, Any]:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return self.enum(field.enum_type)
        return dict(_SCALARS[field.type])

    def _comment(self, name: str) -> str:
        return self._contracts.comments.get(name) or _FOREIGN.get(name, "")

    def _describe(self, schema: dict[str, Any], name: str) -> None:
        comment = self._comment(name)
        if comment:
            schema["description"] = comment


_INTRODUCTION = """The REST face of the CRM suite. Every route is derived from the contracts. What holds for all of them:

- **Values.** Answers leave out what is empty, zero, false or the enum's `…_UNSPECIFIED`: a count of nothing is `{}`, an
  empty list has no list. A field with presence of its own is there when it was said. Integers of 64 bits (`int64`) are
  written as strings, times in UTC (RFC 3339), days as `{"year": 2026, "month": 5, "day": 1}`, amounts as `{"currencyCode":
  "CNY", "units": "12", "nanos": 500000000}`.
- **Changing.** `PATCH` changes the fields that the body names, or those of `updateMask`. `If-Match`, or the `etag` in the
  body, guards against overwriting somebody else's change: 412.
- **Repeating.** With an `Idempotency-Key` a call that was cut off is made again and takes effect once; the same key for
  another request answers 422.
- **Lists** have `pageSize` and `nextPageToken`, which comes back as `pageToken`; `filter` and `orderBy` say in their
  descriptions what they know.
- **Refusals** are problem documents (RFC 9457): `reason` for programs, `detail` for people, and `violations` naming each
  value that is wrong. What somebody may not see answers 404.
"""


def document(contracts: Contracts, routes: Sequence[Route], view360: str, search: str) -> dict[str, Any]:
    """The whole document."""
    made = Document(contracts)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(made, contracts, route)
        path = "/" + "/".join(_shown(route)) + (f":{route.template.verb}" if route.template.verb else "")
        if paths.setdefault(path, {}).setdefault(route.http_method.lower(), operation) is not operation:
            raise ValueError(f"two methods are served by {route.http_method} {path}")
    paths[view360] = {"get": _view360(made, contracts)}
    paths[search] = {"get": _search(made, contracts)}
    paths["/v1/events:stream"] = {"get": _stream(contracts.subjects)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kehu",
            "version": "1",
            "description": _INTRODUCTION,
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(made.schemas.items())),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token or an API key.",
                },
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "session": {"type": "apiKey", "in": "cookie", "name": "kehu_session"},
            },
        },
        "security": [{"bearer": []}, {"apiKey": []}, {"session": []}],
    }


def _shown(route: Route) -> list[str]:
    segments = list(route.template.segments)
    for variable in route.template.variables:
        segments[variable.start] = "{" + _name(variable) + "}"
    return segments


def _name(variable: Variable) -> str:
    """`id` for `lead.id`: paths that differ by nothing but names are the same path, and OpenAPI forbids to list it twice."""
    return camel(variable.path[-1])


_PROBLEMS = {
    "400": "A value was refused; `violations` names it.",
    "401": "Nobody is signed in.",
    "403": "The caller's rights do not reach.",
    "404": "There is no such record, or the caller may not see it.",
    "409": "The record is in another state, or somebody changes it now.",
    "412": "The record has changed since it was read.",
    "413": "The body is too large.",
    "414": "Path and query are too long.",
    "415": "The body's content type cannot be read here.",
    "422": "The Idempotency-Key was used for another request.",
    "429": "Too many requests; Retry-After says when to come back.",
    "431": "The headers are too large.",
    "503": "A service does not answer; Retry-After says when to come back.",
    "504": "A service took longer than the method may take.",
}


def _responses(good: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "200": good,
        **{code: {"description": text, "content": problem} for code, text in _PROBLEMS.items()},
    }


def _operation(made: Document, contracts: Contracts, route: Route) -> dict[str, Any]:
    method, binding = route.method, route.binding
    comment = contracts.comments.get(method.full_name, "")
    summary, _, rest = comment.partition(". ")
    answer = descriptor_of(method.answer)
    if method.streams or answer.full_name == "google.api.HttpBody":
        good: dict[str, Any] = {
            "description": "The file.",
            "content": {"*/*": {"schema": {"type": "string"}}},
        }
    else:
        good = {"description": "Done.", "content": {"application/json": {"schema": made.message(answer)}}}
    if method.beside:
        text = f"What is told beside the answer: see {method.name}."
        good["headers"] = {method.beside.title(): {"description": text, "schema": {"type": "string"}}}
    responses = _responses(good)
    if route.http_method == "GET" and route.answers_etag:
        responses["304"] = {"description": "The record still has the entity tag in If-None-Match."}
    operation: dict[str, Any] = {
        "operationId": f"{method.domain}_{method.name}"
        + ("" if len(method.rules) == 1 else f"_{route.http_method.lower()}"),
        "summary": summary.rstrip("."),
        "description": rest,
        "tags": [method.domain],
        "parameters": _parameters(made, route),
        "responses": responses,
        "x-kehu-access": _access(method.access),
    }
    if method.access.public:
        operation["security"] = []
    if method.takes_parts:
        operation["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": {"schema": made.form(route)}},
        }
    elif binding.body:
        content: dict[str, Any] = {"application/json": {"schema": made.request(route)}}
        if binding.takes_file:
            content["multipart/form-data"] = {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "string",
                            "contentMediaType": "*/*",
                            "description": "The file as it is.",
                        }
                    },
                }
            }
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(made: Document, route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for variable in route.template.variables:
        field = route.binding.field_at(variable)
        schema = made.field(field)
        schema.pop("readOnly", None)  # in the path it names the record, and does not set its id
        description = schema.pop("description", "")
        found.append(
            {
                "name": _name(variable),
                "in": "path",
                "required": True,
                "description": description,
                "schema": schema,
            }
        )
    for name, field in route.binding.query_fields():
        schema = made.field(field)
        description = schema.pop("description", "")
        found.append({"name": name, "in": "query", "description": description, "schema": schema})
    if route.binding.has_request_id:
        schema = made.field(descriptor_of(route.method.request).fields_by_name["request_id"])
        description = schema.pop("description", "")
        found.append(
            {"name": "Idempotency-Key", "in": "header", "description": description, "schema": schema}
        )
    if route.http_method == "GET" and route.answers_etag:
        found.append(
            _tag("If-None-Match", "Answers 304 without a body when the record still has this entity tag.")
        )
    elif route.http_method != "GET" and route.binding.has_etag:
        found.append(
            _tag(
                "If-Match",
                "The record's entity tag as it was read; another one answers 412.",
                r'^(W/)?"[^", ]+"$',
            )
        )
    return found


def _tag(name: str, description: str, pattern: str = "") -> dict[str, Any]:
    schema = {"type": "string", **({"pattern": pattern} if pattern else {})}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _access(access: rules_pb2.Access) -> dict[str, Any]:
    found: dict[str, Any] = {"act": rules_pb2.Act.Name(access.act).removeprefix("ACT_").lower()}
    if access.right:
        found["right"] = access.right
    if access.signed_in:
        found["signedIn"] = True
    if access.public:
        found["public"] = True
    return found


_WHY = {
    "reason": {"type": "string", "description": "Why, in UPPER_SNAKE case, for programs."},
    "detail": {"type": "string", "description": "Why, in words."},
}


def _view360(made: Document, contracts: Contracts) -> dict[str, Any]:
    sections = {method.domain: made.message(descriptor_of(method.answer)) for method in contracts.facets}
    named = {"type": "string", "description": "The section."}
    section = {"type": "object", "properties": {"section": named, **_WHY}}
    schema = {
        "type": "object",
        "properties": {
            "customer": {
                "$ref": "#/components/schemas/customers.v1.Customer",
                "description": "The customer.",
            },
            "sections": {
                "type": "object",
                "description": "By its service's name what each knows of the customer.",
                "properties": {
                    name: {**section, "description": f"What {name} knows."}
                    for name, section in sections.items()
                },
            },
            "missing": {"type": "array", "description": "Sections that could not be had.", "items": section},
        },
    }
    good = {"description": "All that is known.", "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": "customers_View360",
        "summary": "The customer from all sides",
        "description": "The customer and a section of each service that runs; `missing` names sections that could not be had.",
        "tags": ["customers"],
        "parameters": [
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "The customer's id.",
                "schema": {"type": "string", "format": "uuid"},
            }
        ],
        "responses": _responses(good),
        "x-kehu-access": {"act": "read", "right": "customers"},
    }


def _search(made: Document, contracts: Contracts) -> dict[str, Any]:
    types = [kind for method in contracts.methods for kind in method.searched]
    service = {"type": "string", "description": "The service."}
    unseen = {"type": "array", "description": "The kinds of record that it has.", "items": {"type": "string"}}
    missing = {"type": "object", "properties": {"service": service, **_WHY, "types": unseen}}
    schema = {
        "type": "object",
        "properties": {
            "groups": {
                "type": "array",
                "description": "What was found, by kind of record.",
                "items": made.message(search_pb2.SearchGroup.DESCRIPTOR),
            },
            "missing": {
                "type": "array",
                "description": "Services that could not be asked.",
                "items": missing,
            },
        },
    }
    good = {"description": "What was found.", "content": {"application/json": {"schema": schema}}}
    text = {"type": "string", "minLength": 1, "maxLength": 200}
    size = {"type": "integer", "minimum": 0, "maximum": 50, "default": 0}
    kinds = {"type": "array", "maxItems": 50, "items": {"type": "string", "enum": types}}
    wanted: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("q", "Up to eight words, all of which must hit: parts of names, pinyin (beijingyongyou) and its initials (bjyy), any"
         " part of numbers and e-mail addresses, tags.", text),
        ("pageSize", "At most this many records of each kind; 0 means 5.", size),
        ("types", "The kinds of record to look through; may be given several times. Without it all are.", kinds),
    )  # fmt: skip
    return {
        "operationId": "search_Across",
        "summary": "Records of all kinds that a few words find",
        "description": "What the lists find by the same words, each under the caller's rights, best ones first: groups with a"
        " better hit come before others. A kind that the caller has no right to read is left out; `missing` names the services"
        " that could not be asked. `matches` say which part of which field was hit, as plain text.",
        "tags": ["search"],
        "parameters": [
            {"name": name, "in": "query", "required": name == "q", "description": about, "schema": kind}
            for name, about, kind in wanted
        ],
        "responses": _responses(good),
        "x-kehu-access": {"act": "read", "signedIn": True},
    }


def _stream(subjects: Iterable[str]) -> dict[str, Any]:
    good = {
        "description": "Server-sent events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    return {
        "operationId": "events_Stream",
        "summary": "What happens, live",
        "description": "Events of the tenant that the caller may see, as server-sent events.",
        "tags": ["events"],
        "parameters": [
            {
                "name": "subject",
                "in": "query",
                "description": "A subject below the tenant, as leads.import.progressed; may be given several times. "
                "Without it all events come.",
                "schema": {
                    "type": "array",
                    "maxItems": 50,
                    "items": {"type": "string", "enum": sorted(subjects)},
                },
            }
        ],
        "responses": _responses(good),
        "x-kehu-access": {"act": "read", "signedIn": True},
    }
