"""What is missing in a deployment, and what is too much, is found."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks import deployments
from checks.sources import ROOT

Parts = dict[str, Any]


def forgotten(parts: Parts) -> None:
    del parts["sales"]


def not_migrated(parts: Parts) -> None:
    del parts["sales-migrate"]


def not_waited_for(parts: Parts) -> None:
    del parts["sales"]["depends_on"]["sales-migrate"]


def left_behind(parts: Parts) -> None:
    parts["loyalty"] = parts["sales"]


def mistaken(parts: Parts) -> None:
    parts["sales"]["image"] = "kehu/leads"


def not_found(parts: Parts) -> None:
    parts["sales"]["networks"] = {"default": {"aliases": ["sales"]}}


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (forgotten, "sales is missing"),
        (not_migrated, "sales-migrate is missing"),
        (not_waited_for, "does not wait for"),
        (left_behind, "loyalty is no part"),
        (mistaken, "is not built from"),
        (not_found, "is not reached as kehu-sales"),
    ],
)
def test_what_is_planted_is_found(plant: Callable[[Parts], None], said: str) -> None:
    compose = copy.deepcopy(yaml.safe_load((ROOT / deployments.COMPOSE).read_text()))
    plant(compose["services"])
    (fault,) = deployments.composed(compose)
    assert said in fault


def test_a_folder_without_a_place_in_the_composition_is_found(tmp_path: Path) -> None:
    for name in (deployments.names() - {"sales"}) | {"loyalty"}:
        folder = tmp_path / "services" / name
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").touch()
    assert [fault.split(":")[0] for fault in deployments.folders(tmp_path)] == [
        "services/loyalty",
        "services/sales",
    ]


def test_the_suite_has_no_fault() -> None:
    assert [*deployments.faults()] == []
