"""The contracts as the gateway reads them at start-up: services, methods, their rules of access, and what is
said of them.

Python's descriptors carry no comments, so these come from the descriptor set that the contracts are
shipped with.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from google.api import annotations_pb2, http_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from kehu.rules.v1 import rules_pb2

from chassis.rpc.deadlines import deadline_of


@dataclass(frozen=True)
class Method:
    """One RPC."""

    path: str
    """As gRPC wants it: `/kehu.leads.v1.LeadService/GetLead`."""
    name: str
    full_name: str
    service: str
    """Full name of the service it belongs to."""
    domain: str
    """The second part of the package: `leads`."""
    request: type[Message]
    answer: type[Message]
    access: rules_pb2.Access
    deadline: float
    """Seconds."""
    rules: tuple[http_pb2.HttpRule, ...]
    """Its google.api.http rule and that rule's additional bindings; empty for RPCs without REST."""
    streams: bool = False
    """Whether its answer comes in parts, which are a file."""
    searched: tuple[str, ...] = ()
    """The kinds of record that it looks through, when it is a part of search across."""
    takes_parts: bool = False
    """Whether it is asked in parts, which are a file."""
    beside: str = ""
    """The header that may stand beside its answer."""

    @property
    def reads(self) -> bool:
        """Whether it changes nothing, and so may be repeated."""
        return self.access.act == rules_pb2.ACT_READ


_FACET = "GetCustomerFacet"
"""The method by which a service tells its section."""


class Contracts:
    """All services of a descriptor set.

    Raises ImportError when the generated code of a file is missing, ValueError for a method without a rule
    of access.
    """

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        self.comments: dict[str, str] = {}
        """Full name of a message, field, enum, enum value, service or method → its comment."""
        self.titles: dict[str, str] = {}
        """Package → the comment of the file that holds its services."""
        self.methods: list[Method] = []
        self.subjects: set[str] = set()
        """Of all events, as they stand below the tenant: `leads.lead.created`."""
        for file in files.file:
            if not file.package.startswith("kehu."):
                continue
            self.comments.update(_comments(file))
            descriptor = _load(file.name)
            for service in descriptor.services_by_name.values():
                self.methods.extend(_methods(service))
            self.subjects.update(_subjects(descriptor))
        self.by_path = {method.path: method for method in self.methods}
        self.facets = sorted((m for m in self.methods if m.name == _FACET), key=lambda m: m.domain)
        """The methods that are asked for a section of the 360° view each."""

    def named(self, full_name: str) -> Method | None:
        """The method of that full name (`kehu.customers.v1.CustomerService.GetCustomer`), if the set has
        it.
        """
        service, _, name = full_name.rpartition(".")
        return self.by_path.get(f"/{service}/{name}")


@cache
def load() -> Contracts:
    """The contracts of the suite, as shipped. They are read once, for they do not change while a process lives."""
    import kehu.contracts

    return Contracts(descriptor_pb2.FileDescriptorSet.FromString(kehu.contracts.descriptor_set()))


def _load(name: str) -> FileDescriptor:
    pool = descriptor_pool.Default()
    try:
        return pool.FindFileByName(name)
    except KeyError:
        importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        return pool.FindFileByName(name)


def _subjects(file: FileDescriptor) -> Iterator[str]:
    domain = file.package.split(".")[1]
    for message in file.message_types_by_name.values():
        event: rules_pb2.Event = message.GetOptions().Extensions[rules_pb2.event]
        if event.subject:
            yield f"{domain}.{event.subject}"


def _methods(service: ServiceDescriptor) -> Iterator[Method]:
    domain = service.file.package.split(".")[1]
    for method in service.methods:
        options: Any = method.GetOptions()
        access: rules_pb2.Access = options.Extensions[rules_pb2.access]
        if not (access.right or access.public or access.signed_in or access.services):
            raise ValueError(f"{method.full_name} has no rule of access")
        yield Method(
            path=f"/{service.full_name}/{method.name}",
            name=method.name,
            full_name=method.full_name,
            service=service.full_name,
            domain=domain,
            request=_class(method, "input_type"),
            answer=_class(method, "output_type"),
            access=access,
            deadline=deadline_of(method),
            rules=tuple(_http_rules(options)),
            streams=method.server_streaming,
            searched=tuple(options.Extensions[rules_pb2.searched]),
            takes_parts=method.client_streaming,
            beside=options.Extensions[rules_pb2.beside],
        )


def _class(method: MethodDescriptor, side: str) -> type[Message]:
    return GetMessageClass(cast(Descriptor, getattr(method, side)))


def _http_rules(options: Any) -> Iterator[http_pb2.HttpRule]:
    if options.HasExtension(annotations_pb2.http):
        rule: http_pb2.HttpRule = options.Extensions[annotations_pb2.http]
        yield rule
        yield from rule.additional_bindings


# ---- comments
# -----------------------------------------------------------------------------------------------------

# Field numbers in descriptor.proto, of which the paths of source locations are made.
_FILE_PARTS: dict[int, tuple[str, str]] = {
    4: ("message_type", "message"),
    5: ("enum_type", "enum"),
    6: ("service", "service"),
}
_MESSAGE_PARTS: dict[int, tuple[str, str]] = {
    2: ("field", ""),
    3: ("nested_type", "message"),
    4: ("enum_type", "enum"),
}
_ENUM_PARTS: dict[int, tuple[str, str]] = {2: ("value", "")}
_SERVICE_PARTS: dict[int, tuple[str, str]] = {2: ("method", "")}
_PARTS = {"file": _FILE_PARTS, "message": _MESSAGE_PARTS, "enum": _ENUM_PARTS, "service": _SERVICE_PARTS}


def _comments(file: descriptor_pb2.FileDescriptorProto) -> dict[str, str]:
    found: dict[str, str] = {}
    for location in file.source_code_info.location:
        text = location.leading_comments or location.trailing_comments
        if not text or len(location.path) < 2 or len(location.path) % 2:
            continue
        node: Any = file
        kind, name = "file", file.package
        for number, place in zip(location.path[::2], location.path[1::2], strict=True):
            part = _PARTS.get(kind, {}).get(number)
            if part is None:
                break
            node = getattr(node, part[0])[place]
            kind, name = part[1], f"{name}.{node.name}"
        else:
            found[name] = _prose(text)
    return found


def _prose(comment: str) -> str:
    """The comment's lines joined into paragraphs."""
    paragraphs: list[str] = []
    for block in comment.strip().split("\n\n"):
        paragraphs.append(" ".join(line.strip() for line in block.splitlines()))
    return "\n\n".join(paragraphs)
