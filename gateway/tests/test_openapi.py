"""What the OpenAPI document promises, where a fuzzer found that it did not hold."""

import re
from typing import Any

import pytest

from gateway import openapi, search, view360
from gateway.contracts import load
from gateway.routes import routes


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    contracts = load()
    return openapi.document(contracts, routes(contracts), view360.PATH, search.PATH)


def test_no_path_is_listed_twice_under_other_names(document: dict[str, Any]) -> None:
    plain = [re.sub(r"{[^}]*}", "{}", path) for path in document["paths"]]
    assert len(plain) == len(set(plain))
    assert document["paths"]["/v1/leads/{id}"].keys() == {"get", "patch", "delete"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert named == set(re.findall(r"{([^}]*)}", path)), path


def test_what_the_path_says_is_not_asked_for_again(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assign = schemas["leads.v1.AssignLeadRequest"]
    assert "id" not in assign["properties"] and "ownerId" in assign["required"]
    assert (
        "clientAddress" not in schemas["identity.v1.SignInRequest"]["properties"]
    )  # the gateway fills it in


def test_a_change_may_leave_out_any_field(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/customers/{id}"]["patch"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/customers.v1.Customer.Changes"}
    assert "required" not in document["components"]["schemas"]["customers.v1.Customer.Changes"]
    assert "displayName" in document["components"]["schemas"]["customers.v1.Customer"]["required"]


def test_a_secret_that_is_told_once_may_stand_in_an_answer(document: dict[str, Any]) -> None:
    secret = document["components"]["schemas"]["identity.v1.CreateApiKeyResponse"]["properties"]["secret"]
    assert secret["format"] == "password" and "writeOnly" not in secret


def test_limits_of_the_edge_are_documented(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"413", "414", "415", "431", "504"} <= operation["responses"].keys()
    lead = document["paths"]["/v1/leads/{id}"]
    assert "304" in lead["get"]["responses"] and "304" not in lead["patch"]["responses"]
    assert "If-None-Match" in {one["name"] for one in lead["get"]["parameters"]}
    assert "If-Match" in {one["name"] for one in lead["patch"]["parameters"]}


def test_what_is_required_is_not_empty(document: dict[str, Any]) -> None:
    create = document["components"]["schemas"]["imports.v1.CreateImportRequest"]["properties"]
    assert create["filename"]["minLength"] == create["content"]["minLength"] == 1


def test_everything_says_what_it_is(document: dict[str, Any]) -> None:
    silent: list[str] = []

    def look(where: str, said: dict[str, Any]) -> None:
        for name, schema in said.get("properties", {}).items():
            if not schema.get("description"):
                silent.append(f"{where}.{name}")
            look(f"{where}.{name}", schema)
        for part in ("items", "additionalProperties"):
            if isinstance(said.get(part), dict):
                look(f"{where}.{part}", said[part])

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            silent += [f"{where}: summary"] if not operation["summary"] else []
            named = [*operation.get("parameters", ()), *operation.get("responses", {}).values()]
            named += [header for answer in named for header in answer.get("headers", {}).values()]
            silent += [f"{where}: {one.get('name', one)}" for one in named if not one.get("description")]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                look(where, content["schema"])
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    look(where, content["schema"])
    for name, schema in document["components"]["schemas"].items():
        silent += [name] if not schema.get("description") else []
        look(name, schema)
    assert silent == []
    told = document["paths"]["/v1/customers"]["post"]["responses"]["200"]["headers"]
    assert list(told) == ["Kehu-Possible-Duplicates"]


def test_sections_of_the_360_view_say_what_is_in_them(document: dict[str, Any]) -> None:
    answer = document["paths"][view360.PATH]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    sections = answer["properties"]["sections"]["properties"]
    assert {"customers", "leads", "sales", "servicedesk"} <= sections.keys()
    schemas = document["components"]["schemas"]
    for name, section in sections.items():
        assert schemas[section["$ref"].removeprefix("#/components/schemas/")]["properties"], name


def test_what_holds_for_all_routes_is_said_once_at_the_top(document: dict[str, Any]) -> None:
    said = document["info"]["description"]
    for word in ("leave out", "Idempotency-Key", "If-Match", "nextPageToken", "RFC 9457"):
        assert word in said
