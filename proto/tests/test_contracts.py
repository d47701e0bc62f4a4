"""What holds for every contract, read from the descriptors so that a new one cannot be forgotten."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, cast

import kehu.contracts
import pytest
from google.api import annotations_pb2, field_behavior_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from kehu.rules.v1 import rules_pb2

DOMAINS = {
    "identity",
    "customers",
    "leads",
    "sales",
    "marketing",
    "servicedesk",
    "analytics",
    "notifications",
}
RIGHTS = {
    "people", "customers", "leads", "opportunities", "products", "orders", "campaigns", "tickets", "reports", "settings",
    "privacy",
}  # fmt: skip
# Google's wheel types extensions as plain descriptors, which the stubs of protobuf do not take as keys.
HTTP: Any = annotations_pb2.http
BEHAVIOUR: Any = field_behavior_pb2.field_behavior
UNPAGED = frozenset({"ListExportColumns"})
"""Lists that are short by their nature: a kind of record has its columns and at most 100 custom fields."""
# What is once-only by its nature.
WITHOUT_REQUEST_ID = {
    "ErasePersonalData",  # the erasure is what it is known by, and what it has done is counted by that
    "CreatePersonExport",  # as lists:
    "CreateExport",  # whoever asks again gets the list as it is then, and an entry of the log of its own
    "PreviewMergeCustomers",  # as it asks for the right to do what it looks at, and changes nothing:
    "PreviewMergeContacts",
    "PreviewMergeLeads",
    "SignIn",
    "RefreshSession",
}

FILES = descriptor_pb2.FileDescriptorSet.FromString(kehu.contracts.descriptor_set())
OURS = [file for file in FILES.file if file.package.startswith("kehu.")]
kehu.contracts.load_all()
POOL = descriptor_pool.Default()


def messages() -> Iterator[Descriptor]:
    for file in OURS:
        for one in file.message_type:
            yield from _with_nested(POOL.FindMessageTypeByName(f"{file.package}.{one.name}"))


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from _with_nested(nested)


def methods() -> Iterator[MethodDescriptor]:
    for file in OURS:
        for service in file.service:
            yield from POOL.FindServiceByName(f"{file.package}.{service.name}").methods


def events() -> Iterator[Descriptor]:
    return (m for m in messages() if m.GetOptions().HasExtension(rules_pb2.event))


def http(method: MethodDescriptor) -> tuple[str, str, str] | None:
    """Verb, path and body of a method that REST offers."""
    options = method.GetOptions()
    if not options.HasExtension(HTTP):
        return None
    rule = options.Extensions[HTTP]
    verb = str(rule.WhichOneof("pattern"))
    return verb, str(getattr(rule, verb)), str(rule.body)


def behaviour(field: FieldDescriptor) -> set[int]:
    """The field's google.api.field_behavior values."""
    return set(cast("Iterable[int]", field.GetOptions().Extensions[BEHAVIOUR]))


def access(method: MethodDescriptor) -> rules_pb2.Access:
    return method.GetOptions().Extensions[rules_pb2.access]


def names(of: Iterable[Descriptor | MethodDescriptor | EnumDescriptor]) -> list[str]:
    return [one.full_name for one in of]


def field_of(message: Descriptor, path: str) -> FieldDescriptor | None:
    """The field that a dotted path leads to."""
    field = None
    for part in path.split("."):
        field = message.fields_by_name.get(part)
        if field is None:
            return None
        message = field.message_type or message
    return field


SHARED = {
    "rules", "imports", "exports", "history", "customfields", "valuelists", "savedviews", "bulkedits", "search", "shares",
    "duplicates", "merges", "notes", "attachments", "privacy",
}  # fmt: skip
"""Packages of messages that several domains have in common."""


def test_all_domains_are_there() -> None:
    packages = {file.package for file in OURS}
    assert packages == {f"kehu.{d}.v1" for d in DOMAINS | SHARED}


@pytest.mark.parametrize("method", list(methods()), ids=lambda m: m.full_name)
def test_method(method: MethodDescriptor) -> None:
    """Access, deadline, required fields and bounds are matters of checks/contracts.py."""
    if access(method).act == rules_pb2.ACT_WRITE and method.name not in WITHOUT_REQUEST_ID:
        assert "request_id" in method.input_type.fields_by_name, "a write that cannot be repeated safely"
    if method.name.startswith("List") and method.name not in UNPAGED:
        assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
        assert "next_page_token" in method.output_type.fields_by_name
        assert sum(field.is_repeated for field in method.output_type.fields) == 1
    if method.name.startswith("Update"):
        resource = method.input_type.fields[0].message_type
        assert resource is not None and "etag" in resource.fields_by_name
        assert "update_mask" in method.input_type.fields_by_name


@pytest.mark.parametrize("method", [m for m in methods() if http(m)], ids=lambda m: m.full_name)
def test_rest(method: MethodDescriptor) -> None:
    found = http(method)
    assert found is not None
    verb, path, body = found
    assert re.fullmatch(r"/v1(/([a-z][A-Za-z]*|\{[a-z_]+(\.id)?\}))+(:[a-z][A-Za-z]*)?", path), path
    for variable in re.findall(r"\{([^}]+)\}", path):
        field = field_of(method.input_type, variable)
        assert field is not None, f"{variable} is no field of {method.input_type.full_name}"
        assert field.type == FieldDescriptor.TYPE_STRING
    if verb in ("get", "delete"):
        assert not body
    else:
        assert body == "*" or body in method.input_type.fields_by_name
    reads = access(method).act == rules_pb2.ACT_READ
    assert verb != "get" or reads, "GET promises to change nothing"
    assert verb == "get" or not reads or path.endswith((":lookUp", ":preview", ":findDuplicates"))


def test_rest_paths_are_unique() -> None:
    shapes = Counter(
        f"{found[0]} {re.sub(r'{[^}]+}', '{}', found[1])}"
        for found in map(http, methods())
        if found is not None
    )
    assert [shape for shape, count in shapes.items() if count > 1] == []


def test_methods_without_rest_are_for_services_or_facets() -> None:
    inside = [m for m in methods() if http(m) is None]
    parts = ("GetCustomerFacet", "SearchRecords")  # of what the gateway puts together
    assert names(m for m in inside if not access(m).services and m.name not in parts) == []


def test_internal_methods_have_no_rest() -> None:
    """What only our services may call has no route."""
    closed = [m for m in methods() if not (access(m).right or access(m).signed_in or access(m).public)]
    assert names(m for m in closed if http(m)) == []


def test_every_event_has_a_subject_of_its_own() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for event in events():
        option = event.GetOptions().Extensions[rules_pb2.event]
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", option.subject), event.full_name
        assert option.personal or option.right in RIGHTS, event.full_name
        assert not (option.personal and option.right), event.full_name
        seen[event.file.package, option.subject] += 1
    assert [subject for subject, count in seen.items() if count > 1] == []


def test_events_stand_together_and_begin_with_their_record() -> None:
    for message in messages():
        event = message.GetOptions().HasExtension(rules_pb2.event)
        in_events = message.file.name.endswith("/events.proto")
        snapshot = message.name.endswith("Snapshot")
        assert event == (in_events and not snapshot), (
            f"{message.full_name} belongs elsewhere, or lacks its subject"
        )
        if event:
            assert re.fullmatch(r"[a-z_]+_id", message.fields_by_number[1].name), message.full_name
            owned = [f.name for f in message.fields if f.number in (2, 3)]
            assert owned in ([], ["owner_id", "team_id"]), message.full_name


def test_enums_begin_with_unspecified() -> None:
    for file in OURS:
        for enum in file.enum_type:
            prefix = re.sub(r"(?<!^)([A-Z])", r"_\1", enum.name).upper()
            assert enum.value[0].number == 0
            assert enum.value[0].name == f"{prefix}_UNSPECIFIED"
            assert all(value.name.startswith(f"{prefix}_") for value in enum.value)


def test_everything_has_a_comment() -> None:
    """Comments are the documentation: OpenAPI and AsyncAPI say nothing else."""
    bare: list[str] = []
    for file in OURS:
        said = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}
        for path, name in _described(file):
            text = said.get(path, "")
            if not text.endswith((".", ":", "?")):
                bare.append(f"{file.name}: {name}: {text[-60:]!r}")
    assert bare == []


def _described(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Paths as google/protobuf/descriptor.proto numbers them: 4 messages, 5 enums, 6 services, 2 their parts."""
    for i, message in enumerate(file.message_type):
        yield (4, i), message.name
        for k, field in enumerate(message.field):
            yield (4, i, 2, k), f"{message.name}.{field.name}"
    for i, enum in enumerate(file.enum_type):
        yield (5, i), enum.name
        for k, value in enumerate(enum.value):
            yield (5, i, 2, k), value.name
    for i, service in enumerate(file.service):
        yield (6, i), service.name
        for k, method in enumerate(service.method):
            yield (6, i, 2, k), f"{service.name}.{method.name}"
    for k, extension in enumerate(file.extension):
        yield (7, k), extension.name


def test_rules_fit_their_fields() -> None:
    for message in messages():
        for field in message.fields:
            rules = field.GetOptions().Extensions[rules_pb2.field]
            where = f"{message.full_name}.{field.name}"
            text = field.type == FieldDescriptor.TYPE_STRING
            if rules.pattern:
                assert text, where
                re.compile(rules.pattern)
            entry = field.message_type
            texts = (
                entry is not None
                and entry.GetOptions().map_entry
                and entry.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING
            )
            assert not rules.format or text or texts, where
            assert not rules.min_length or text or field.type == FieldDescriptor.TYPE_BYTES, where
            assert not rules.max_length or rules.min_length <= rules.max_length, where
            assert not (rules.min_items or rules.max_items or rules.unique) or field.is_repeated, where
            bounded = any(rules.HasField(bound) for bound in ("gte", "lte", "gt", "lt"))
            money = field.message_type is not None and field.message_type.full_name == "google.type.Money"
            decimal = rules.format == rules_pb2.FORMAT_DECIMAL
            assert not bounded or money or decimal or not (text or field.message_type), where


def test_owners_move_by_assigning_only() -> None:
    """owner_id can be set at creation and never by an update; team_id follows from it."""
    for message in messages():
        owner, team = message.fields_by_name.get("owner_id"), message.fields_by_name.get("team_id")
        if owner is None or owner.number != 8:
            continue
        assert behaviour(owner) & {field_behavior_pb2.IMMUTABLE, field_behavior_pb2.OUTPUT_ONLY}, (
            message.full_name
        )
        assert team is not None
        assert field_behavior_pb2.OUTPUT_ONLY in behaviour(team)


def test_statuses_move_by_verbs() -> None:
    """A resource's status is output only (AIP-216)."""
    for message in messages():
        status = message.fields_by_name.get("status")
        if status is not None and "etag" in message.fields_by_name and not message.name.endswith("Request"):
            assert field_behavior_pb2.OUTPUT_ONLY in behaviour(status), message.full_name
