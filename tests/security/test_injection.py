"""Values that try to be something else: SQL, line ends of headers, code."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from google.protobuf.descriptor import FieldDescriptor

from gateway.contracts import load
from gateway.routes import Route, routes
from kehu_local.suite import Suite
from proof import found
from proof.company import World, claims_of
from tests.security.conftest import Program, keyed

SQL = (
    "' OR '1'='1",
    "'; DROP TABLE customers; --",
    "x') UNION SELECT password_hash FROM people --",
    "%' ESCAPE '!' OR 1=1 --",
    "$1",
    ":tenant",
    "\\'; SELECT pg_sleep(30); --",
    "kehu.tenant",
)
READS = [
    r
    for r in routes(load())
    if r.http_method == "GET" and r.method.access.right and "{" not in r.template.text
]


def texts_of(route: Route) -> list[str]:
    """The parameters of a route that take a text."""
    return [
        name
        for name, field in route.binding.query_fields()
        if field.type == FieldDescriptor.TYPE_STRING and not field.message_type
    ]


def name_of(route: Route) -> str:
    return route.template.text


@pytest.mark.parametrize("route", [r for r in READS if texts_of(r)], ids=name_of)
def test_sql_in_any_parameter_is_a_value(route: Route, us: Program) -> None:
    for name in texts_of(route):
        for text in SQL:
            answer = us.ask("GET", route.template.text, params={name: text})
            assert answer.status_code in (200, 400, 404), (name, text, answer.text)
            assert "syntax" not in answer.text and "asyncpg" not in answer.text
            if answer.status_code == 200 and name == "query":
                assert "Ours-" not in answer.text, (name, text)


def test_such_parameters_are_there() -> None:
    assert sum(len(texts_of(route)) for route in READS) > 40


@pytest.fixture(scope="module")
def bobby(founded: Callable[[str], Any]) -> Program:
    """A company whose records are called as no record should be."""
    return keyed(founded("bobby"))


def test_sql_that_was_stored_is_a_value(suite: Suite, bobby: Program, eventually: Callable[..., Any]) -> None:
    ids: dict[str, str] = {}
    for text in SQL:
        made = bobby.ask("POST", "/v1/customers", {"displayName": text, "industry": text, "tags": [text]})
        assert made.status_code == 200, made.text
        ids[made.json()["id"]] = text
        lead = bobby.ask("POST", "/v1/leads", {"name": text, "companyName": text, "sourceDetail": text})
        assert lead.status_code == 200, lead.text
    # What was stored is sorted, filtered, paged, searched, reported and sent on like any other name.
    seen: dict[str, str] = {}
    token = ""
    for _ in SQL:
        params = {"orderBy": "displayName", "pageSize": "1", "pageToken": token}
        page = bobby.ask("GET", "/v1/customers", params=params).json()
        seen |= {one["id"]: one["displayName"] for one in page["customers"]}
        token = page.get("nextPageToken", "")
    assert seen == ids and not token
    for id, text in ids.items():
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        listed = bobby.ask("GET", "/v1/customers", params={"filter": f'industry = "{quoted}"'})
        assert [one["id"] for one in listed.json().get("customers", [])] == [id], (text, listed.text)
        changed = bobby.ask("PATCH", f"/v1/customers/{id}", {"notes": text})
        assert changed.json()["notes"] == text
        assert bobby.ask("GET", f"/v1/customers/{id}:view360").status_code == 200
    counted = eventually(lambda: _counted(bobby), 60)
    assert counted == len(SQL)
    assert found.rows(suite, "customers", "SELECT count(*) AS n FROM customers")[0]["n"] > len(SQL)


def _counted(bobby: Program) -> int:
    """How many leads the report has, when it has all."""
    answer = bobby.ask(
        "GET", "/v1/reports/leadsBySource", params={"firstDay": "2020-01-01", "lastDay": "2100-01-01"}
    )
    answer = answer if answer.status_code == 200 else bobby.ask("GET", "/v1/reports/leadsBySource")
    assert answer.status_code == 200, answer.text
    total = answer.json().get("total", {}).get("leadCount", 0)
    return int(total) if int(total) == len(SQL) else 0


LINES = ("\r\nSet-Cookie: evil=1", "\nX-Evil: 1", "\r\n\r\n<script>alert(1)</script>", "%0d%0aX-Evil: 1")


def test_line_ends_reach_no_header_of_an_answer(world: World, us: Program) -> None:
    form = {
        "name": "f",
        "fields": [
            {"key": "n", "label": "n", "kind": "FORM_FIELD_KIND_TEXT", "leadField": "LEAD_FIELD_NAME"}
        ],
    }
    for text in LINES:
        made = us.ask("POST", "/v1/forms", {**form, "redirectUrl": f"https://www.example.com/{text}"})
        assert made.status_code == 400 or "%0d%0a" in text, made.text
        for sent in ({"traceparent": f"00-{'1' * 32}-{'2' * 16}-01{text[:0]}x"}, {"x-kehu-client": "a"}):
            answer = us.ask("GET", "/v1/customers", headers=sent)
            assert "evil" not in str(answer.headers).lower()
        answer = us.ask("GET", f"/v1/customers/{world.ids['customer_id']}", headers={"if-none-match": "x"})
        assert "evil" not in str(answer.headers).lower()
    # In an address they come encoded, and the answer may repeat the address.
    for path in ("/v1/leads/%0d%0aX-Evil:%201", "/pages/%0d%0aX-Evil:%201", "/%0d%0aX-Evil:%201"):
        answer = us.http.get(path, headers=us.headers)
        assert answer.status_code in (400, 404) and "x-evil" not in answer.headers


def test_line_ends_reach_no_header_of_an_event(
    suite: Suite,
    world: World,
    founded: Callable[[str], Any],
    program: Callable[..., Program],
    eventually: Callable[..., Any],
) -> None:
    """A name that ends a line could give an event another company's id, and make services write into that company."""
    owner = founded("lines")
    own = claims_of(owner)["tid"]
    subject = "kehu.lines.customers.customer.created"
    rights = {"customers": ("ALL", "ALL")}
    for number, ending in enumerate(("\r\n", "\n", "\r", "\r\n\r\n")):
        name = f"Eve{ending}ce-tenantid: {world.tenant_id}{ending}ce-tenant: ours{ending}kehu-right: "
        eve = program(owner, rights, displayName=name, email=f"eve{number}@lines.example")
        made = eve.ask("POST", "/v1/customers", {"displayName": "By Eve"})
        assert made.status_code == 200, made.text
        id = made.json()["id"]
        eventually(lambda id=id: id.encode() in found.last_message(suite, "CUSTOMERS", subject)[1], 30)
        headers, _ = found.last_message(suite, "CUSTOMERS", subject)
        assert (headers["ce-tenantid"], headers["ce-tenant"], headers["kehu-right"]) == (
            own,
            "lines",
            "customers",
        )
        assert unquote(headers["kehu-name"]).startswith("Eve")


def test_the_linter_refuses_code_made_from_texts(tmp_path: Path) -> None:
    """`make check` runs with these rules; each is shown to find what it is for, in a file of ours."""
    planted = {
        "S301": "import pickle\npickle.loads(b'')\n",
        "S302": "import marshal\nmarshal.loads(b'')\n",
        "S506": "import yaml\nyaml.load('')\n",
        "S307": "def f(said: str) -> None:\n    eval(said)\n",
        "S102": "def f(said: str) -> None:\n    exec(said)\n",
        "S602": "import subprocess\n\n\ndef f(said: str) -> None:\n    subprocess.run(said, shell=True)\n",
        "S608": "def f(said: str) -> str:\n    return f\"SELECT * FROM customers WHERE name = '{said}'\"\n",
    }
    root = Path(__file__).parents[2]
    for rule, text in planted.items():
        asked = [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--config",
            str(root / "pyproject.toml"),
            "--output-format=concise",
        ]
        asked += ["--stdin-filename", "services/customers/customers/planted.py", "-"]
        said = subprocess.run(
            asked, input=text, capture_output=True, text=True, cwd=root, timeout=60, check=False
        )
        assert said.returncode == 1 and rule in said.stdout, (rule, said.stdout, said.stderr)
