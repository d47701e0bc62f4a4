"""The rules on sources find what is planted, and pass what is sound."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from checks import egress, sql
from checks.sources import ROOT, Source, product

SNIPPETS = {
    "S608": [
        "def find(db, name):\n    return db.execute(f\"SELECT id FROM leads WHERE name = '{name}'\")\n",
        "def find(db, name):\n    return db.execute(\"SELECT id FROM leads WHERE name = '%s'\" % name)\n",
        'def find(db, name):\n    return db.execute("SELECT id FROM leads WHERE name = \'" + name + "\'")\n',
        "def find(db, name):\n    return db.execute(\"SELECT id FROM leads WHERE name = '{}'\".format(name))\n",
        'def find(name):\n    return text(f"""\n        DELETE\n        FROM leads\n        WHERE name = {name}""")\n',
    ],
    "S301": ["import pickle\n\n\ndef read(data):\n    return pickle.loads(data)\n"],
    "S302": ["import marshal\n\n\ndef read(data):\n    return marshal.loads(data)\n"],
    "S506": ["import yaml\n\n\ndef read(data):\n    return yaml.load(data, Loader=yaml.Loader)\n"],
    "S307": ["def read(data):\n    return eval(data)\n"],
    "S102": ["def run(data):\n    exec(data)\n"],
    "S602": ["import subprocess\n\n\ndef run(name):\n    subprocess.run('ls ' + name, shell=True)\n"],
    "S701": ["import jinja2\n\nENVIRONMENT = jinja2.Environment()\n"],
}


@pytest.mark.parametrize("place", ["services/leads/leads", "gateway/gateway", "chassis/chassis"])
@pytest.mark.parametrize(("rule", "snippets"), SNIPPETS.items(), ids=SNIPPETS)
def test_ruff_as_configured_finds_what_lets_strangers_in(rule: str, snippets: list[str], place: str) -> None:
    for snippet in snippets:
        asked = [
            "check",
            "--no-cache",
            "--output-format",
            "json",
            "--stdin-filename",
            f"{place}/planted.py",
            "-",
        ]
        program = Path(sys.executable).with_name("ruff")
        done = subprocess.run(
            [program, *asked], input=snippet, capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert rule in {one["code"] for one in json.loads(done.stdout)}, snippet


def planted(text: str, path: str = "services/leads/leads/planted.py") -> Source:
    return Source(Path(path), text)


@pytest.mark.parametrize(
    "text",
    [
        'async def go(db, name):\n    await db.execute(f"DROP TABLE {name}")\n',
        'async def go(db, name):\n    await db.execute("LOCK TABLE " + name)\n',
        'async def go(db, name):\n    await db.fetch("CALL %s()" % name)\n',
        'async def go(db, name):\n    await db.fetchval("CALL {}()".format(name))\n',
        'async def go(db, names):\n    await db.execute("TRUNCATE " + ", ".join(names))\n',
        'async def go(tx, name):\n    await tx.session.execute(text(f"""\n        SET LOCAL x = {name}"""))\n',
        'async def go(db, name):\n    sql = f"WITH x AS (TABLE {name}) TABLE x"\n    await db.fetch(sql)\n',
        'async def go(db, who, name):\n    await db.database.read(who, "TABLE leads ORDER BY " + name)\n',
        'async def go(db, name):\n    await db.execute("LISTEN x" if not name else f"LISTEN {name}")\n',
        'def upgrade(op, name):\n    op.execute(\n        f"""\n        DROP TABLE {name}\n        """\n    )\n',
    ],
)  # fmt: skip
def test_composed_sql_is_found(text: str) -> None:
    (fault,) = sql.composed([planted(text)])
    assert "services/leads/leads/planted.py:" in fault and "Composed of" in fault


@pytest.mark.parametrize(
    "text",
    [
        'async def go(db, id):\n    await db.execute("DELETE FROM leads WHERE id = $1", id)\n',
        'async def go(db):\n    await db.execute("SELECT 1" " FROM leads")\n',
        'async def go(db):\n    # Composed of names of this file.\n    await db.execute(f"LOCK TABLE {NAME}")\n',
        'async def go(db):\n    await db.execute(f"TABLE {NAME}")  # noqa: S608 (a constant of this file)\n',
        'async def go(log, name):\n    log.info(f"hello {name}")\n',
    ],
)
def test_written_sql_and_explained_sql_pass(text: str) -> None:
    assert [*sql.composed([planted(text)]), *sql.unexplained([planted(text)])] == []


def test_an_exception_without_a_reason_is_found() -> None:
    for said in ("# noqa: S608", "# noqa: S608 ()", "# noqa: E501, S608"):
        assert len([*sql.unexplained([planted(f'X = f"SELECT {{A}} FROM b"  {said}\n')])]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import socket\n",
        "import urllib.request\n",
        "from urllib import request\n",
        "from http.client import HTTPSConnection\n",
        "import smtplib\n",
        "import subprocess\n",
        'import asyncio\n\n\nasync def go():\n    await asyncio.open_connection("example.com", 80)\n',
        "async def go(loop):\n    await loop.create_connection(None, 'example.com', 80)\n",
        "import os\n\nos.system('curl example.com')\n",
        "def go():\n    import socket as quiet\n    return quiet\n",
    ],
)
def test_a_connection_of_ones_own_is_found(text: str) -> None:
    (fault,) = egress.connections([planted(text)])
    assert egress.HOME in fault
    assert [*egress.connections([planted(text, "chassis/chassis/egress.py")])] == []


@pytest.mark.parametrize("module", ["httpx", "requests", "aiohttp", "aiosmtplib", "websockets", "boto3"])
def test_a_package_nobody_has_thought_about_is_found(module: str) -> None:
    for text in (f"import {module}\n", f"from {module} import client\n", f"def go():\n    import {module}\n"):
        (fault,) = egress.unknown([planted(text)])
        assert module in fault
        assert [*egress.unknown([planted(text, "chassis/chassis/egress.py")])] == []


def test_what_serves_tests_is_not_used_by_what_runs() -> None:
    text = "from chassis.testing import Harness\n"
    assert len([*egress.testing_imported([planted(text)])]) == 1
    assert [*egress.testing_imported([planted(text, "services/leads/leads/testing.py")])] == []


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """All of the product, whose syntax is read once."""
    return product()


@pytest.mark.parametrize(
    "rule", [sql.composed, sql.unexplained, egress.connections, egress.unknown, egress.testing_imported]
)
def test_the_product_has_no_fault(
    rule: Callable[[Iterable[Source]], Iterable[str]], sources: list[Source]
) -> None:
    assert {"gateway.view360", "chassis.database", "leads.conversion"} <= {one.module for one in sources}
    assert [*rule(sources)] == []


def test_every_exception_is_still_needed(sources: list[Source]) -> None:
    """An exception that nobody uses would let the next one in unseen."""
    used = {(one.module, name) for one in sources for _, name in egress.reaching(one)}
    for who, what in egress.EXCEPT:
        if not who.startswith("*") and what != "*":
            assert (who, what) in used
    first = {name.split(".")[0] for one in sources for _, name in egress.imported(one)}
    assert (egress.PEERS.keys() | egress.SILENT) - first == set()
