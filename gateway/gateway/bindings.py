"""From an HTTP request to a request message, as the method's google.api.http rule says.

Everything is first laid out as the JSON form of the request and then read by the compiled converters, so
that a value is refused with the same words wherever it stood. What the path binds cannot be given again
elsewhere with another value.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from kehu.rules.v1 import rules_pb2

from chassis import wire
from chassis.errors import Invalid, Violation
from chassis.validation.rules import OUTPUT_ONLY, behaviors, rules_of
from chassis.wire import Refused, descriptor_of, invalid
from gateway import forms
from gateway.exchanges import Exchange, media_type
from gateway.problems import Refusal
from gateway.templates import Template, Variable

Document = dict[str, Any]
"""A request message in its JSON form."""

_TEXTUAL = {
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.protobuf.StringValue",
    "google.protobuf.BytesValue",
    "google.protobuf.Int32Value",
    "google.protobuf.Int64Value",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
    "google.protobuf.FloatValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.BoolValue",
}
"""Messages whose JSON form is one text, number or boolean, and which may therefore stand in a query."""
_KNOWN_NAMES = 512
"""Query names remembered a route; nested ones make the number unbounded."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the document a name of the path or query belongs."""

    names: tuple[str, ...]
    field: FieldDescriptor

    def convert(self, text: str) -> Any:
        return _from_text(self.field, text)


class Binding:
    """Makes the request messages of one route.

    Raises ValueError at start-up when the rule names fields that are not there or cannot be bound.
    """

    def __init__(self, kind: type[Message], template: Template, method: str, body: str) -> None:
        self._kind = kind
        self._descriptor = descriptor_of(kind)
        self._method = method
        self._variables = [(variable, self._place(variable.path)) for variable in template.variables]
        self.body = body
        self._body_name = ""
        self._body_in: Callable[[Any], Any] | None = None
        if body and body != "*":
            field = self._descriptor.fields_by_name.get(body)
            if field is None:
                raise ValueError(f"{template.text}: the body names '{body}', which is no field")
            self._body_name = field.json_name
            self._writable = _writable(field)
        self.body_field = self._descriptor.fields_by_name.get(body) if body else None
        bound = {variable.path for variable in template.variables}
        self.bound = frozenset(".".join(path) for path in bound)
        self._places: dict[str, _Place] = {}
        fields = self._descriptor.fields_by_name
        self._etag = self._etag_path()
        self.has_etag = self._etag is not None
        self.has_request_id = "request_id" in fields
        self.has_mask = "update_mask" in fields and bool(self._body_name)
        self.edges = [(f, rules_of(f).edge) for f in self._descriptor.fields if rules_of(f).edge]
        self.form_values = next((f for f in self._descriptor.fields if rules_of(f).form_values), None)
        content = fields.get("content")
        self.takes_file = (
            body == "*"
            and content is not None
            and content.type == FieldDescriptor.TYPE_BYTES
            and "filename" in fields
        )

    # ---- start-up
    # -------------------------------------------------------------------------------------------------

    def _place(self, path: tuple[str, ...]) -> _Place:
        place = _find(self._descriptor, path)
        if place is None or place.field.is_repeated:
            raise ValueError(f"'{'.'.join(path)}' cannot be bound by a path of {self._descriptor.full_name}")
        return place

    def _etag_path(self) -> tuple[str, ...] | None:
        fields = self._descriptor.fields_by_name
        if "etag" in fields:
            return ("etag",)
        if self.body and self.body != "*":
            resource = fields[self.body].message_type
            if resource is not None and "etag" in resource.fields_by_name:
                return (fields[self.body].json_name, "etag")
        return None

    def field_at(self, variable: Variable) -> FieldDescriptor:
        """The field that a part of the path fills, for the OpenAPI document."""
        return self._place(variable.path).field

    def query_fields(self) -> list[tuple[str, FieldDescriptor]]:
        """The names that may stand in the query, with their fields, for the OpenAPI document."""
        if self.body == "*":
            return []
        taken = {f.full_name for f, _ in self.edges}
        found: list[tuple[str, FieldDescriptor]] = []
        for field in self._descriptor.fields:
            if field.json_name == self._body_name or field.full_name in taken:
                continue
            inner = field.message_type
            if inner is None or inner.full_name in _TEXTUAL:
                if field.name not in self.bound:
                    found.append((field.json_name, field))
            elif not field.is_repeated and not inner.full_name.startswith("google.protobuf."):
                for below in inner.fields:
                    if below.message_type is None and f"{field.name}.{below.name}" not in self.bound:
                        found.append((f"{field.json_name}.{below.json_name}", below))
        return found

    # ---- a request
    # ------------------------------------------------------------------------------------------------

    def bind(self, exchange: Exchange, body: bytes) -> Message:
        """The request message. Raises Invalid naming what is wrong, or Refusal 415."""
        document = self._body(exchange, body) if body or self.body else {}
        query = exchange.query
        if query:
            self._take_query(document, query)
        for variable, place in self._variables:
            self._take_path(document, variable, place, exchange.segments)
        headers = exchange.headers
        if b"if-match" in headers and self._method != "GET":
            self._take_etag(document, headers[b"if-match"])
        if self.has_request_id and b"idempotency-key" in headers:
            key = headers[b"idempotency-key"].decode("latin-1")
            _set(document, ("requestId",), key, "the header Idempotency-Key")
        if self.edges:
            self._take_edges(document, exchange)
        try:
            return wire.build(self._kind, document)
        except Refused as refused:
            raise invalid(refused) from None

    def bind_file(self, exchange: Exchange, texts: list[tuple[str, str]], filename: str) -> Message:
        """The first part of a request that is sent in parts: all but the bytes. What is said may stand in the query as well."""
        document = self._form(texts)
        for name, text in forms.pairs(exchange.query, "query") if exchange.query else ():
            place = self._known(name)
            if place is None:
                raise Invalid(_shown(name), "is not a query parameter of this request: check its name")
            _add(document, place, text, name)
        for name in ("content", "complete"):
            if name in document:
                raise Invalid(name, "is said by the file itself: send it as the last part, with a name")
        document["filename"] = document.get("filename") or filename.replace("\\", "/").rsplit("/", 1)[-1]
        if b"idempotency-key" in exchange.headers:
            key = exchange.headers[b"idempotency-key"].decode("latin-1")
            _set(document, ("requestId",), key, "the header Idempotency-Key")
        try:
            return wire.build(self._kind, document)
        except Refused as refused:
            raise invalid(refused) from None

    def _body(self, exchange: Exchange, body: bytes) -> Document:
        kind = media_type(exchange)
        if not self.body:
            if body.strip() not in (b"", b"{}"):
                raise Invalid("body", "must be empty: this request takes its values from path and query")
            return {}
        if kind == forms.MULTIPART and (self.takes_file or self.form_values is not None):
            content_type = exchange.headers[b"content-type"].decode("latin-1")
            return self._multipart(forms.parts(body, content_type))
        if kind == forms.URLENCODED and self.form_values is not None:
            return self._form(forms.pairs(body, "body"))
        if not body.strip():
            return {} if self.body == "*" else {self._body_name: {}}
        if kind not in ("application/json", "application/merge-patch+json"):
            allowed = "application/json"
            if self.takes_file or self.form_values is not None:
                allowed += " or multipart/form-data"
            raise Refusal(
                415,
                "CONTENT_TYPE_UNSUPPORTED",
                f"Content-Type: '{kind[:60]}' cannot be read here: send {allowed}.",
                (Violation("Content-Type", f"must be {allowed}"),),
                extra=((b"accept", b"application/json"),),
            )
        value = wire.loads(body)
        if self.body != "*":
            return self._resource(value)
        if type(value) is not dict:
            raise Invalid("body", "must be a JSON object")
        return cast(Document, value)

    def _resource(self, value: object) -> Document:
        document: Document = {self._body_name: value}
        if self.has_mask and self._method == "PATCH" and type(value) is dict:
            # A client that sends no mask means the fields it sends, also those it sends empty.
            named = [
                path
                for name, part in cast(Document, value).items()
                if name in self._writable
                for path in _paths(self._writable[name], part)
            ]
            if named:
                document["updateMask"] = ",".join(dict.fromkeys(named))
        return document

    def _multipart(self, parts: list[forms.Part]) -> Document:
        texts: list[tuple[str, str]] = []
        document: Document = {}
        for part in parts:
            if part.filename is not None and self.takes_file:
                if "content" in document:
                    raise Invalid("content", "comes with more than one file: send one")
                document["filename"] = part.filename.replace("\\", "/").rsplit("/", 1)[-1]
                document["content"] = part.content
            else:
                try:
                    texts.append((part.name, part.content.decode()))
                except UnicodeDecodeError:
                    raise Invalid(_shown(part.name), "is not UTF-8") from None
        rest = self._form(texts)
        for name, value in rest.items():
            _set(document, (name,), value, "the file")
        return document

    def _form(self, pairs: list[tuple[str, str]]) -> Document:
        document: Document = {}
        extras: dict[str, str] = {}
        for name, text in pairs:
            place = self._known(name)
            # What the gateway fills in itself is a name like any other to whoever designs a form.
            if place is not None and not (self.form_values is not None and rules_of(place.field).edge):
                _add(document, place, text, name)
            elif self.form_values is not None:
                extras[name] = f"{extras[name]}, {text}" if name in extras else text
            else:
                raise Invalid(_shown(name), "is not a field here: check its name")
        if extras and self.form_values is not None:
            document[self.form_values.json_name] = extras
        return document

    def _take_query(self, document: Document, query: bytes) -> None:
        for name, text in forms.pairs(query, "query"):
            place = self._known(name)
            if place is None or self.body == "*" or place.names[0] == self._body_name:
                where = "put it into the body" if place is not None else "check its name"
                raise Invalid(_shown(name), f"is not a query parameter of this request: {where}")
            if name == "updateMask":
                document.pop("updateMask", None)
            _add(document, place, text, name)

    def _known(self, name: str) -> _Place | None:
        place = self._places.get(name)
        if place is None:
            place = _find(self._descriptor, tuple(name.split(".")))
            if place is not None and len(self._places) < _KNOWN_NAMES:
                self._places[name] = place
        return place

    def _take_path(self, document: Document, variable: Variable, place: _Place, segments: list[str]) -> None:
        if variable.parts == 1 and variable.end is not None:
            text = segments[variable.start]
        else:
            text = "/".join(segments[variable.start : variable.end])
        _set(document, place.names, place.convert(text), "the path")

    def _take_etag(self, document: Document, header: bytes) -> None:
        text = header.decode("latin-1").strip()
        if text == "*":
            return
        if self._etag is None:
            raise Invalid("If-Match", "cannot be checked by this request: leave it out")
        if "," in text:
            raise Invalid("If-Match", "names several versions: name the one you have read")
        value = text.removeprefix("W/").strip('"')
        if not value:
            raise Invalid("If-Match", 'must be an entity tag as "7"')
        _set(document, self._etag, value, "the header If-Match")

    def _take_edges(self, document: Document, exchange: Exchange) -> None:
        for field, edge in self.edges:
            if document.get(field.json_name) or document.get(field.name):
                raise Invalid(field.json_name, "is filled in by the gateway: leave it out")
            document.pop(field.name, None)
            document[field.json_name] = _edge(edge, exchange)[: rules_of(field).max_length or 2048]


def _edge(edge: rules_pb2.Edge.ValueType, exchange: Exchange) -> str:
    if edge == rules_pb2.EDGE_CLIENT_ADDRESS:
        return exchange.client
    if edge == rules_pb2.EDGE_GATEWAY_URL:
        return exchange.gateway_url
    name = {
        rules_pb2.EDGE_ORIGIN: b"origin",
        rules_pb2.EDGE_REFERRER: b"referer",
        rules_pb2.EDGE_USER_AGENT: b"user-agent",
    }[edge]
    text = exchange.headers.get(name, b"").decode("utf-8", "replace")
    limit = 400 if edge == rules_pb2.EDGE_USER_AGENT else 2048
    return "".join(character for character in text[:limit] if character.isprintable())


def _shown(name: str) -> str:
    """A name that a client gave, as a violation tells it; one without a character would tell nothing."""
    return name[:100] or "(empty name)"


def _writable(field: FieldDescriptor) -> dict[str, str]:
    """Both spellings of the names a mask made from a body may hold → the name in the mask."""
    if field.message_type is None:
        return {}
    found: dict[str, str] = {}
    for inner in field.message_type.fields:
        if OUTPUT_ONLY not in behaviors(inner) and inner.name not in ("id", "etag"):
            found[inner.name] = found[inner.json_name] = inner.json_name
    return found


_KEY = re.compile(r"[a-z][a-z0-9_]*")


def _paths(name: str, value: object) -> list[str]:
    """What a mask made from a body says of one field: custom fields are named one by one, so that the others stay."""
    if name != "customFields" or type(value) is not dict:
        return [name]
    keys = list(cast("dict[str, object]", value))
    # A name that is none is refused when the message is read; here it may not become the name of something else.
    return [f"{name}.{key}" if _KEY.fullmatch(key) else name for key in keys]


def _find(descriptor: Descriptor, path: tuple[str, ...]) -> _Place | None:
    names: list[str] = []
    for depth, name in enumerate(path):
        field = descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)
        if field is None or field.json_name not in (name, wire.camel(name)):
            return None
        names.append(field.json_name)
        inner = field.message_type
        if depth == len(path) - 1:
            return _Place(tuple(names), field) if inner is None or inner.full_name in _TEXTUAL else None
        if inner is None or field.is_repeated or inner.full_name in _TEXTUAL:
            return None
        descriptor = inner
    return None


def _from_text(field: FieldDescriptor, text: str) -> Any:
    inner = field.message_type
    boolean = field.type == FieldDescriptor.TYPE_BOOL or (
        inner is not None and inner.full_name == "google.protobuf.BoolValue"
    )
    if boolean and text in ("true", "false"):
        return text == "true"
    if field.enum_type is not None and text.removeprefix("-").isascii() and text.removeprefix("-").isdigit():
        return int(text[:12])
    return text


def _add(document: Document, place: _Place, text: str, name: str) -> None:
    if place.field.is_repeated:
        values = _inside(document, place.names[:-1], name).setdefault(place.names[-1], [])
        cast("list[Any]", values).append(place.convert(text))
        return
    inside = _inside(document, place.names[:-1], name)
    if place.names[-1] in inside:
        raise Invalid(_shown(name), "is given twice: give it once")
    inside[place.names[-1]] = place.convert(text)


def _inside(document: Document, names: tuple[str, ...], shown: str) -> Document:
    for name in names:
        below = document.setdefault(name, {})
        if type(below) is not dict:
            raise Invalid(_shown(shown), f"cannot be set: {name} is not an object")
        document = cast(Document, below)
    return document


def _set(document: Document, names: tuple[str, ...], value: Any, source: str) -> None:
    """Sets what path or headers say. Raises Invalid when the body said something else."""
    inside = _inside(document, names[:-1], ".".join(names))
    known = inside.get(names[-1])
    if known not in (None, "", value):
        raise Invalid(".".join(names), f"differs from {source}: give it once")
    inside[names[-1]] = value
