"""The rules on manifests find what is planted."""

import copy
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Manifests = list[dict[str, Any]]


def _check() -> Any:
    spec = importlib.util.spec_from_file_location("k8s_check", Path(__file__).parents[1] / "check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = _check()
RULES = ("against_schemas", "whole", "held_short", "settings_known", "owners_kept", "reached")


@pytest.fixture(scope="module")
def base() -> Manifests:
    return check.built(check.HERE / "base")


def problems(rule: str, manifests: Manifests) -> list[str]:
    return list(getattr(check, rule)(manifests))


def one(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    return next(m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))


def container(manifests: Manifests, name: str = "kehu-sales") -> dict[str, Any]:
    return one(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]


def misspelt(m: Manifests) -> None:
    container(m)["imagePullPolice"] = "Always"


def not_scaled(m: Manifests) -> None:
    m.remove(one(m, "HorizontalPodAutoscaler", "kehu-sales"))


def as_root(m: Manifests) -> None:
    container(m)["securityContext"]["readOnlyRootFilesystem"] = False


def unknown_setting(m: Manifests) -> None:
    container(m)["env"].append({"name": "KEHU_DATABSE_URL", "value": "x"})


def mighty(m: Manifests) -> None:
    secret = {"secretKeyRef": {"name": "kehu-owners", "key": "kehu-sales"}}
    container(m)["env"].append({"name": "KEHU_OWNER_DATABASE_URL", "valueFrom": secret})


def shared_secret(m: Manifests) -> None:
    for variable in container(m)["env"]:
        if "secretKeyRef" in variable.get("valueFrom", {}):
            variable["valueFrom"]["secretKeyRef"]["name"] = "kehu-leads"


def job_served(m: Manifests) -> None:
    one(m, "Service", "kehu-sales")["spec"]["selector"].pop("app.kubernetes.io/component")


def left_behind(m: Manifests) -> None:
    gone = copy.deepcopy(one(m, "Deployment", "kehu-sales"))
    gone["metadata"]["name"] = "kehu-loyalty"
    m.append(gone)


def address_left(m: Manifests) -> None:
    told = next(manifest["data"] for manifest in m if "KEHU_ADDRESS_SALES" in manifest.get("data", {}))
    told["KEHU_ADDRESS_LOYALTY"] = told["KEHU_ADDRESS_SALES"]


def no_address(m: Manifests) -> None:
    for manifest in m:
        manifest.get("data", {}).pop("KEHU_ADDRESS_SALES", None)


@pytest.fixture
def planted(base: Manifests) -> Iterator[Manifests]:
    yield copy.deepcopy(base)


@pytest.mark.parametrize("rule", RULES)
def test_the_base_has_no_problem(base: Manifests, rule: str) -> None:
    assert problems(rule, base) == []


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (misspelt, "against_schemas"),
        (not_scaled, "whole"),
        (no_address, "whole"),
        (left_behind, "whole"),
        (address_left, "whole"),
        (as_root, "held_short"),
        (unknown_setting, "settings_known"),
        (mighty, "owners_kept"),
        (shared_secret, "owners_kept"),
        (job_served, "reached"),
    ],
)
def test_what_is_planted_is_found(planted: Manifests, plant: Callable[[Manifests], None], rule: str) -> None:
    plant(planted)
    assert problems(rule, planted)
