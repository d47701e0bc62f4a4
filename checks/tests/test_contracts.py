"""The rules on contracts find what a planted contract lacks, and pass a sound one."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import pytest
from google.api import annotations_pb2, field_behavior_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, struct_pb2
from google.protobuf.descriptor import MethodDescriptor
from kehu.rules.v1 import rules_pb2

from checks import contracts

_NUMBERS = count()
HTTP: Any = annotations_pb2.http
BEHAVIOUR: Any = field_behavior_pb2.field_behavior
Field = descriptor_pb2.FieldDescriptorProto
Method = descriptor_pb2.MethodDescriptorProto
Rules = rules_pb2.FieldRules
Plant = Callable[[Method, dict[str, Field]], None]


def field(
    name: str,
    number: int,
    kind: "Field.Type.ValueType",
    *,
    rules: Rules | None = None,
    required: bool = False,
) -> Field:
    made = Field(name=name, number=number, type=kind, label=Field.LABEL_OPTIONAL)
    if rules is not None:
        made.options.Extensions[rules_pb2.field].CopyFrom(rules)
    if required:
        made.options.Extensions[BEHAVIOUR].append(field_behavior_pb2.REQUIRED)
    return made


def contract(plant: Plant) -> list[MethodDescriptor]:
    """A file with one sound method, in which something is planted."""
    package = f"planted.n{next(_NUMBERS)}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for used in (rules_pb2, annotations_pb2, field_behavior_pb2, empty_pb2, struct_pb2):
        file.dependency.append(used.DESCRIPTOR.name)
    fields = {
        "id": field("id", 1, Field.TYPE_STRING, rules=Rules(format=rules_pb2.FORMAT_UUID), required=True),
        "note": field("note", 2, Field.TYPE_STRING, rules=Rules(max_length=200)),
        "file": field("file", 3, Field.TYPE_BYTES, rules=Rules(max_length=1000)),
        "tags": field("tags", 4, Field.TYPE_STRING, rules=Rules(max_length=40, max_items=20)),
        "count": field("count", 5, Field.TYPE_INT32),
        "inner": field("inner", 6, Field.TYPE_MESSAGE),
    }
    fields["tags"].label = Field.LABEL_REPEATED
    fields["inner"].type_name = f".{package}.Inner"
    method = Method(name="ShipThing", input_type=f".{package}.Request", output_type=".google.protobuf.Empty")
    access = rules_pb2.Access(right="orders", act=rules_pb2.ACT_WRITE)
    method.options.Extensions[rules_pb2.access].CopyFrom(access)
    method.options.Extensions[HTTP].post = "/v1/things/{id}:ship"
    plant(method, fields)
    inner = file.message_type.add(name="Inner").field
    inner.append(field("text", 1, Field.TYPE_STRING, rules=Rules(max_length=10)))
    if "deep" in fields:
        inner.append(fields.pop("deep"))
    file.message_type.add(name="Request").field.extend(fields.values())
    file.service.add(name="ThingService").method.append(method)
    pool: Any = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return list(pool.FindServiceByName(f"{package}.ThingService").methods)


def nothing(method: Method, fields: dict[str, Field]) -> None:
    pass


def no_access(method: Method, fields: dict[str, Field]) -> None:
    method.options.ClearExtension(rules_pb2.access)


def two_ways_in(method: Method, fields: dict[str, Field]) -> None:
    method.options.Extensions[rules_pb2.access].public = True


def reads_or_writes(method: Method, fields: dict[str, Field]) -> None:
    method.options.Extensions[rules_pb2.access].act = rules_pb2.ACT_UNSPECIFIED


def unknown_right(method: Method, fields: dict[str, Field]) -> None:
    method.options.Extensions[rules_pb2.access].right = "order"


def unknown_service(method: Method, fields: dict[str, Field]) -> None:
    method.options.Extensions[rules_pb2.access].services.append("loyalty")


def too_long(method: Method, fields: dict[str, Field]) -> None:
    method.options.Extensions[rules_pb2.deadline_ms] = 60_001


def a_slow_read(method: Method, fields: dict[str, Field]) -> None:
    method.options.Extensions[rules_pb2.access].act = rules_pb2.ACT_READ
    method.options.Extensions[rules_pb2.deadline_ms] = 30_001


def a_facet_by_default(method: Method, fields: dict[str, Field]) -> None:
    method.name = "GetCustomerFacet"


def no_time_at_all(method: Method, fields: dict[str, Field]) -> None:
    method.options.Extensions[rules_pb2.deadline_ms] = 1


def endless_text(method: Method, fields: dict[str, Field]) -> None:
    fields["note"].options.ClearExtension(rules_pb2.field)


def endless_bytes(method: Method, fields: dict[str, Field]) -> None:
    fields["file"].options.Extensions[rules_pb2.field].max_length = 0


def endless_list(method: Method, fields: dict[str, Field]) -> None:
    fields["tags"].options.Extensions[rules_pb2.field].max_items = 0


def endless_inside(method: Method, fields: dict[str, Field]) -> None:
    fields["deep"] = field("deep", 2, Field.TYPE_STRING)


def a_free_value(method: Method, fields: dict[str, Field]) -> None:
    fields["inner"].type_name = ".google.protobuf.Value"


def a_weighed_value(method: Method, fields: dict[str, Field]) -> None:
    fields["inner"].type_name = ".google.protobuf.Value"
    fields["inner"].options.Extensions[rules_pb2.field].max_length = 1000


def anything(method: Method, fields: dict[str, Field]) -> None:
    fields["inner"].type_name = ".google.protobuf.Struct"


def not_required(method: Method, fields: dict[str, Field]) -> None:
    fields["id"].options.ClearExtension(BEHAVIOUR)


def not_required_in_the_path(method: Method, fields: dict[str, Field]) -> None:
    method.options.Extensions[HTTP].post = "/v1/things/{note}:ship"


RULES: dict[Callable[[Iterable[MethodDescriptor]], Iterator[str]], tuple[Plant, ...]] = {
    contracts.without_access: (no_access, two_ways_in, reads_or_writes, unknown_right, unknown_service),
    contracts.out_of_time: (too_long, a_slow_read, a_facet_by_default, no_time_at_all),
    contracts.unbounded: (endless_text, endless_bytes, endless_list, endless_inside, anything, a_free_value),
    contracts.not_demanded: (not_required, not_required_in_the_path),
}  # fmt: skip
CASES = [(rule, plant) for rule, plants in RULES.items() for plant in plants]


@pytest.mark.parametrize(("rule", "plant"), CASES, ids=[plant.__name__ for _, plant in CASES])
def test_what_is_planted_is_found_by_its_rule_alone(rule: Any, plant: Plant) -> None:
    methods = contract(plant)
    found = {one: [*one(methods)] for one in RULES}
    assert found[rule], plant.__name__
    if plant is not no_access:  # says not whether it reads, either
        assert [one for one in RULES if found[one]] == [rule]


@pytest.mark.parametrize("sound", [nothing, a_weighed_value])
def test_a_sound_contract_has_no_fault(sound: Plant) -> None:
    methods = contract(sound)
    assert [fault for rule in RULES for fault in rule(methods)] == []


def test_the_suite_has_no_fault() -> None:
    assert len([*contracts.methods()]) > 150
    assert [*contracts.faults()] == []
