"""The list of attacks holds: none is missing, every test it names is there, and no feature comes without its attack."""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.api import annotations_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf import descriptor_pb2, descriptor_pool
from kehu.rules.v1 import rules_pb2

from gateway.contracts import Contracts, load
from tests.security.attacks import ATTACKS, FETCHED, Attack, Feature, names_in

ROOT = Path(__file__).parents[2]


def missing_numbers(attacks: Sequence[Attack]) -> list[str]:
    """What is wrong with the numbers: the attacks are 1 to 38, each tried or waiting for something."""
    numbers = [attack.number for attack in attacks]
    found = [f"{number} is missing" for number in range(1, 39) if number not in numbers]
    found += [f"{number} stands twice" for number in sorted(set(numbers)) if numbers.count(number) > 1]
    return found + [
        f"{a.number} is neither tried nor waiting" for a in attacks if not a.tests and not a.pending
    ]


def missing_tests(attacks: Sequence[Attack]) -> list[str]:
    """Tests that the list names and that are not there, or never run."""
    return [
        f"{attack.number}: {test}"
        for attack in attacks
        for test in attack.tests
        if test.partition("::")[2] not in _tests_of(test.partition("::")[0])
    ]


@cache
def _tests_of(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.is_file() or not path.name.startswith("test_"):
        return frozenset()
    functions = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return frozenset(f.name for f in functions if f.name.startswith("test_") and not _never_runs(f))


def _never_runs(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(
        "mark.skip" in ast.unparse(mark) or "mark.xfail" in ast.unparse(mark)
        for mark in function.decorator_list
    )


def untried_features(attacks: Sequence[Attack], names: Iterable[str]) -> list[str]:
    """Features that the contracts have and that no test attacks yet."""
    names = list(names)
    return [
        f"{attack.number}, {feature.name}: {name}"
        for attack in attacks
        for feature in attack.pending
        for name in feature.found_in(names)
    ]


def planted(name: str, *, method: str = "", field: str = "", path: str = "", url: bool = False) -> Contracts:
    """Contracts with one service of one method, as somebody might add them."""
    package = f"kehu.{name}.v1"
    options: Any = descriptor_pb2.MethodOptions()
    options.Extensions[rules_pb2.access].right = "customers"
    options.Extensions[rules_pb2.access].act = rules_pb2.ACT_READ
    if path:
        options.Extensions[annotations_pb2.http].get = path
    request = descriptor_pb2.DescriptorProto(name="GetRequest")
    if field:
        made = request.field.add(name=field, number=1, type=9, label=1)
        if url:
            made.options.Extensions[rules_pb2.field].format = rules_pb2.FORMAT_URL
    call = descriptor_pb2.MethodDescriptorProto(
        name=method or "GetPlanted", input_type=f".{package}.GetRequest", output_type=f".{package}.GetRequest",
        options=options,
    )  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(
        name=f"kehu/{name}/v1/planted.proto", package=package, syntax="proto3", message_type=[request],
        service=[descriptor_pb2.ServiceDescriptorProto(name="PlantedService", method=[call])],
        dependency=["kehu/rules/v1/rules.proto", "google/api/annotations.proto"],
    )  # fmt: skip
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return Contracts(descriptor_pb2.FileDescriptorSet(file=[file]))


def test_every_attack_has_its_number() -> None:
    assert missing_numbers(ATTACKS) == []


def test_a_missing_number_is_seen() -> None:
    assert missing_numbers([attack for attack in ATTACKS if attack.number != 17]) == ["17 is missing"]
    assert missing_numbers([*ATTACKS, ATTACKS[3]]) == ["4 stands twice"]
    idle = [replace(a, tests=(), pending=()) if a.number == 9 else a for a in ATTACKS]
    assert missing_numbers(idle) == ["9 is neither tried nor waiting"]


def test_every_test_that_is_named_is_there() -> None:
    assert missing_tests(ATTACKS) == []
    assert sum(len(attack.tests) for attack in ATTACKS) > 70


@pytest.mark.parametrize(
    "named",
    [
        "tests/security/test_matrix.py::test_that_nobody_has_written",
        "tests/security/test_nothing.py::test_the_matrix_is_whole",
        "tests/security/attacks.py::names_in",
        "tests/security/test_matrix.py",
    ],
)
def test_a_test_that_is_not_there_is_seen(named: str) -> None:
    assert missing_tests([Attack(1, "read by another's id", (named,))]) == [f"1: {named}"]


def test_no_feature_comes_without_its_attack() -> None:
    assert untried_features(ATTACKS, names_in(load())) == []


def test_the_names_are_those_of_the_contracts() -> None:
    """Conditions on names that are never written so would wait for ever."""
    names = set(names_in(load()))
    assert {
        "service kehu.leads.v1.LeadService", "method kehu.leads.v1.LeadService.ConvertLead", "path /v1/leads/{id}:convert",
        "field kehu.imports.v1.CreateImportRequest.filename", "url kehu.marketing.v1.WebForm.redirect_url",
    } <= names  # fmt: skip
    assert len(names) > 1000


_EXPECTED = (
    ("printed", {"path": "/v1/planted/{id}:pdf"}, {1, 20}),
    ("rendered", {"method": "RenderQuote"}, {1, 20}),
    ("templated", {"path": "/v1/mailTemplates/{id}"}, {6, 15, 17, 20}),
    ("previewed", {"field": "template_id"}, {6, 15, 17, 20}),
    ("computed", {"field": "price_formula"}, {16}),
    ("fetched", {"field": "logo_address", "url": True}, {12, 13, 14}),
    ("tested", {"method": "TestConnection"}, {12, 13, 14}),
    ("hooked", {"path": "/v1/webhooks"}, {12, 13, 14, 37}),
    ("mailed", {"method": "SendEmail"}, {14, 17, 26}),
    ("directory", {"field": "ldap_filter"}, {26}),
    ("tracked", {"path": "/v1/track/{id}"}, {30}),
    ("quarantined", {"field": "spam_score"}, {31}),
    ("received", {"field": "html_body"}, {22}),
)


@pytest.mark.parametrize(
    ("name", "what", "attacks"), _EXPECTED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_feature_without_its_attack_is_seen(name: str, what: dict[str, Any], attacks: set[int]) -> None:
    names = names_in(planted(name, **what))
    assert {int(found.partition(",")[0]) for found in untried_features(ATTACKS, names)} == attacks


def test_what_is_near_a_feature_is_none() -> None:
    """A condition that is too wide would be switched off by the first who meets it."""
    near: dict[str, Any] = {
        "field": "attachment_count",
        "path": "/v1/planted/profiles/{id}",
        "method": "GetTestament",
    }
    assert untried_features(ATTACKS, names_in(planted("near", **near))) == []
    for name in (
        "field kehu.imports.v1.CreateImportRequest.filename",
        "path /v1/customers/imports",
        "field kehu.sales.v1.Delivery.tracking_number",
    ):
        assert untried_features(ATTACKS, [name]) == []
    assert FETCHED.found_in(["url kehu.identity.v1.Tenant.logo"]) and not FETCHED.found_in(
        ["url kehu.leads.v1.Lead.website"]
    )
    assert not Feature("none", ()).found_in(["path /v1/leads"])
