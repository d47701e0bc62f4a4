"""What is deployed is what the suite is made of: no service is forgotten, and none is left that is gone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from checks.sources import ROOT
from kehu_local.composition import GATEWAY, MEMBERS

COMPOSE = "deploy/docker/compose.yaml"
_OTHERS = {"postgres", "nats", "prepare"}
"""What Compose runs beside the suite."""


def names() -> set[str]:
    """Folders and images of the services, as deployments call them."""
    return {member.module.replace("_", "-") for member in MEMBERS}


def folders(root: Path = ROOT) -> Iterator[str]:
    """Services that are sources and no part of the composition, or the other way round."""
    there = {path.parent.name for path in (root / "services").glob("*/pyproject.toml")}
    for name in sorted(there ^ names()):
        lacks = "kehu_local.composition does not name it" if name in there else "there is no such folder"
        yield f"services/{name}: {lacks}"


def composed(compose: Mapping[str, Any]) -> Iterator[str]:
    """What Compose starts too little, too much, or as something else."""
    parts: Mapping[str, Mapping[str, Any]] = compose["services"]
    wanted = names()
    expected = {GATEWAY, *wanted, *(f"{name}-migrate" for name in wanted)} | _OTHERS
    for name in sorted(expected - parts.keys()):
        yield f"{COMPOSE}: {name} is missing"
    for name in sorted(parts.keys() - expected):
        yield f"{COMPOSE}: {name} is no part of the suite (deploy/local/kehu_local/composition.py)"
    for name in sorted(wanted & parts.keys()):
        part = parts[name]
        if (
            part.get("image") != f"kehu/{name}"
            or part.get("build", {}).get("args", {}).get("SERVICE") != name
        ):
            yield f"{COMPOSE}: {name} is not built from services/{name}"
        if f"kehu-{name}" not in part.get("networks", {}).get("default", {}).get("aliases", []):
            yield f"{COMPOSE}: {name} is not reached as kehu-{name}, which the others are told"
        if f"{name}-migrate" not in part.get("depends_on", {}):
            yield f"{COMPOSE}: {name} does not wait for {name}-migrate"


def faults() -> Iterator[str]:
    """What is wrong with folders and Compose; the manifests of Kubernetes are held against the same by deploy/k8s/check.py."""
    yield from folders()
    yield from composed(yaml.safe_load((ROOT / COMPOSE).read_text()))
