"""Every method says who may call it, how long it may take and what its request may hold: read from the descriptors."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import kehu.contracts
from google.api import annotations_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from kehu.rules.v1 import rules_pb2

from chassis.rpc.deadlines import deadline_of
from chassis.validation.rules import OUTPUT_ONLY, REQUIRED, behaviors, is_map, rules_of, target_of
from kehu_local.composition import GATEWAY, MEMBERS, OPERATOR

RIGHTS = frozenset({
    "people", "customers", "leads", "opportunities", "products", "orders", "campaigns", "tickets", "reports", "settings",
    "exports", "privacy",
})  # fmt: skip
CALLERS = frozenset({*(member.domain for member in MEMBERS), GATEWAY, OPERATOR})

MOST_SECONDS = {"facet": 1.0, "read": 30.0, "write": 60.0, "stream": 600.0}
"""The longest deadline of each class of method. A part of the customer view or of search across may not hold up
the whole; what takes longer than a minute is a job, and not a call; a stream gives its answer, or takes what it is
asked, all the while."""
LEAST_SECONDS = 0.1

_HTTP: Any = annotations_pb2.http
_VERBS = ("get", "put", "post", "delete", "patch")
_BOUNDED = frozenset({
    "google.protobuf.BoolValue", "google.protobuf.DoubleValue", "google.protobuf.Duration", "google.protobuf.Empty",
    "google.protobuf.FieldMask", "google.protobuf.Int32Value", "google.protobuf.Timestamp", "google.type.Date",
    "google.type.DayOfWeek", "google.type.Money", "google.type.TimeOfDay",
})  # fmt: skip
"""Messages of Google's whose size or form the chassis checks by itself (a mask names existing fields only)."""


def methods() -> Iterator[MethodDescriptor]:
    """All methods of the suite."""
    kehu.contracts.load_all()
    files = descriptor_pb2.FileDescriptorSet.FromString(kehu.contracts.descriptor_set())
    for file in files.file:
        for service in file.service if file.package.startswith("kehu.") else ():
            name = f"{file.package}.{service.name}"
            yield from descriptor_pool.Default().FindServiceByName(name).methods


def without_access(methods: Iterable[MethodDescriptor]) -> Iterator[str]:
    """Methods that do not say who may call them."""
    for method in methods:
        rule = method.GetOptions().Extensions[rules_pb2.access]
        ways = sum((bool(rule.right), rule.signed_in, rule.public))
        if ways > 1 or (not ways and not rule.services):
            yield (
                f"{method.full_name}: option (kehu.rules.v1.access) takes exactly one of right, signed_in and public,"
                " or services"
            )
        if rule.act == rules_pb2.ACT_UNSPECIFIED:
            yield f"{method.full_name}: option (kehu.rules.v1.access) says not whether it reads or writes: give act"
        if rule.right and rule.right not in RIGHTS:
            yield f"{method.full_name}: there is no right {rule.right}"
        for unknown in sorted(set(rule.services) - CALLERS):
            yield f"{method.full_name}: nobody is called {unknown}"


def out_of_time(methods: Iterable[MethodDescriptor]) -> Iterator[str]:
    """Methods whose deadline is not one of their class."""
    for method in methods:
        kind, seconds = _class_of(method), deadline_of(method)
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS[kind]:
            yield (
                f"{method.full_name} may take {seconds:g} s: a {kind} takes {LEAST_SECONDS:g} to {MOST_SECONDS[kind]:g} s:"
                " give option (kehu.rules.v1.deadline_ms)"
            )


def _class_of(method: MethodDescriptor) -> str:
    if method.name in ("GetCustomerFacet", "SearchRecords"):
        return "facet"
    if method.server_streaming or method.client_streaming:
        return "stream"
    reads = method.GetOptions().Extensions[rules_pb2.access].act == rules_pb2.ACT_READ
    return "read" if reads else "write"


def unbounded(methods: Iterable[MethodDescriptor]) -> Iterator[str]:
    """Fields of requests, of whatever depth, that a caller may fill without end."""
    seen: set[str] = set()
    todo = [method.input_type for method in methods]
    while todo:
        message = todo.pop()
        if message.full_name in seen or message.full_name in _BOUNDED:
            continue
        seen.add(message.full_name)
        for field in message.fields:
            if OUTPUT_ONLY in behaviors(field):
                continue
            yield from _endless(message, field)
            inner = target_of(field).message_type
            if inner is not None and not _weighed(field):
                todo.append(inner)


def _weighed(field: FieldDescriptor) -> bool:
    """Whether a free value is bounded as a whole."""
    inner = target_of(field).message_type
    return (
        inner is not None and inner.full_name == "google.protobuf.Value" and bool(rules_of(field).max_length)
    )


def _endless(message: Descriptor, field: FieldDescriptor) -> Iterator[str]:
    rules, target = rules_of(field), target_of(field)
    where = f"{message.full_name}.{field.name}"
    if field.is_repeated and not rules.max_items:
        yield f"{where} takes any number of {'pairs' if is_map(field) else 'elements'}: give max_items"
    text = target.type == FieldDescriptor.TYPE_STRING and not rules.format
    if (text or target.type == FieldDescriptor.TYPE_BYTES) and not rules.max_length:
        yield f"{where} takes any length: give max_length{' or a format' if text else ''}"
    inner = target.message_type
    if _weighed(field):
        return
    if inner is not None and inner.full_name.startswith("google.") and inner.full_name not in _BOUNDED:
        yield f"{where} is a {inner.full_name}, whose size nobody bounds"


def not_demanded(methods: Iterable[MethodDescriptor]) -> Iterator[str]:
    """Fields that a request cannot do without and that are not REQUIRED."""
    for method in methods:
        needed = {part for part in _path_fields(method)}
        needed |= {name for name in ("id",) if name in method.input_type.fields_by_name}
        if re.match("(Create|Update)[A-Z]", method.name):
            needed |= {
                field.name for field in method.input_type.fields if field.message_type == method.output_type
            }
        for name in sorted(needed):
            if REQUIRED not in behaviors(method.input_type.fields_by_name[name]):
                yield (
                    f"{method.input_type.full_name}.{name}: {method.name} cannot do without it: give"
                    " (google.api.field_behavior) = REQUIRED"
                )


def _path_fields(method: MethodDescriptor) -> Iterator[str]:
    rule = method.GetOptions().Extensions[_HTTP]
    for one in (rule, *rule.additional_bindings):
        for verb in _VERBS:
            for variable in re.findall(r"\{([a-z_]+)", str(getattr(one, verb))):
                if variable in method.input_type.fields_by_name:
                    yield variable


def faults() -> Iterator[str]:
    """What is missing in the contracts of the suite."""
    every = [*methods()]
    for rule in (without_access, out_of_time, unbounded, not_demanded):
        yield from rule(every)
