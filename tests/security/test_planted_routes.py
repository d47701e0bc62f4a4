"""A method that nobody has given a rule of access comes into no service and into no gateway."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from kehu.rules.v1 import rules_pb2

from chassis.rpc import Face
from gateway.contracts import Contracts


def _planted(package: str, options: descriptor_pb2.MethodOptions) -> descriptor_pb2.FileDescriptorProto:
    kind = f".kehu.{package}.v1.Thing"
    call = descriptor_pb2.MethodDescriptorProto(
        name="GetThing", input_type=kind, output_type=kind, options=options
    )
    file = descriptor_pb2.FileDescriptorProto(
        name=f"kehu/{package}/v1/thing_service.proto", package=f"kehu.{package}.v1", syntax="proto3",
        message_type=[descriptor_pb2.DescriptorProto(name="Thing")],
        service=[descriptor_pb2.ServiceDescriptorProto(name="ThingService", method=[call])],
        dependency=["kehu/rules/v1/rules.proto"],
    )  # fmt: skip
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return file


async def _show(request: object, call: object) -> object:
    return request


def test_a_service_with_a_method_that_has_no_rule_does_not_start() -> None:
    _planted("open", descriptor_pb2.MethodOptions())
    with pytest.raises(ValueError, match="GetThing has no rule of access"):
        Face("kehu.open.v1.ThingService").read("GetThing")(_show)  # type: ignore[type-var]


def test_nor_with_one_whose_rule_does_not_say_whether_it_writes() -> None:
    options = descriptor_pb2.MethodOptions()
    options.Extensions[rules_pb2.access].right = "customers"
    _planted("vague", options)
    with pytest.raises(ValueError, match="has no rule of access"):
        Face("kehu.vague.v1.ThingService").read("GetThing")(_show)  # type: ignore[type-var]


def test_a_gateway_does_not_start_with_it_either() -> None:
    file = _planted("alone", descriptor_pb2.MethodOptions())
    with pytest.raises(ValueError, match="GetThing has no rule of access"):
        Contracts(descriptor_pb2.FileDescriptorSet(file=[file]))


def test_with_a_rule_it_is_taken() -> None:
    options = descriptor_pb2.MethodOptions()
    options.Extensions[rules_pb2.access].right = "customers"
    options.Extensions[rules_pb2.access].act = rules_pb2.ACT_READ
    file = _planted("ruled", options)
    face = Face("kehu.ruled.v1.ThingService")
    face.read("GetThing")(_show)  # type: ignore[type-var]
    assert face.missing() == []
    assert [m.name for m in Contracts(descriptor_pb2.FileDescriptorSet(file=[file])).methods] == ["GetThing"]
