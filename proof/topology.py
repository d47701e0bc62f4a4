"""Who asks whom in a suite, read from its composition and from what the services are made of."""

import ast
import importlib
import importlib.util
from functools import cache
from pathlib import Path

from kehu_local.composition import GATEWAY, MEMBERS
from proof.links import NATS, POSTGRES, Link


def in_use(links: list[Link]) -> list[Link]:
    """Those of the links over which something is asked: all but those between services that never ask each other."""
    asked = {member.domain: peers(member.module) - {member.domain} for member in MEMBERS}
    return [
        link
        for link in links
        if link.origin == GATEWAY or link.peer in (NATS, POSTGRES) or link.peer in asked[link.origin]
    ]


@cache
def peers(module: str) -> frozenset[str]:
    """The domains a service may ask: those whose requests it knows. Requests stand in the files that declare services, and
    nobody needs them but who asks or answers. What it takes from the chassis counts as its own.
    """
    found: set[str] = set()
    seen: set[Path] = set()
    waiting = [file for file in _folder(module).rglob("*.py") if file.name != "testing.py"]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in _imports(file):
            if name.startswith("kehu.") and name.endswith("_pb2"):
                if importlib.import_module(name).DESCRIPTOR.services_by_name:
                    found.add(name.split(".")[1])
            elif name.startswith("chassis."):
                path = _folder("chassis").joinpath(*name.split(".")[1:])
                waiting += [one for one in (path.with_suffix(".py"), path / "__init__.py") if one.exists()]
    return frozenset(found)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@cache
def _imports(file: Path) -> list[str]:
    """The modules a file imports, by their full names; names taken from within them are given in the same way."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found
