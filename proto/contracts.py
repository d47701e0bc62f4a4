"""The contracts as data: all generated modules, and the descriptor set with the comments that Python's own drop."""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).resolve().parent


@cache
def descriptor_set() -> bytes:
    """A serialized google.protobuf.FileDescriptorSet of all contracts and their imports, with source info."""
    return (_HERE / "descriptors.binpb").read_bytes()


@cache
def module_names() -> tuple[str, ...]:
    """The names of all generated message modules, as kehu.leads.v1.lead_pb2, in alphabetical order."""
    names = (path.relative_to(_HERE).with_suffix("").parts for path in sorted(_HERE.rglob("*_pb2.py")))
    return tuple(".".join(("kehu", *parts)) for parts in names)


@cache
def load_all() -> tuple[ModuleType, ...]:
    """Imports every generated message module, so that the default descriptor pool knows every contract."""
    return tuple(importlib.import_module(name) for name in module_names())
