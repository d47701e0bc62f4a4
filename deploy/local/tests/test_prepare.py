"""What containers are given: enough to connect, the same each time, and nobody else's."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from kehu_local.composition import MEMBERS
from kehu_local.postgres import Postgres
from kehu_local.prepare import prepare

START = Path(__file__).parents[2] / "docker" / "start.sh"


@pytest.fixture(scope="module")
def server(open_folder: Path) -> Iterator[str]:
    """A server of its own: preparing sets the passwords of roles that other tests use."""
    folder = open_folder / "prepared"
    postgres = Postgres(folder / "postgres", "secret", folder / "postgres.log")
    folder.mkdir()
    postgres.start()
    yield postgres.url
    postgres.kill()


def read(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_opens_its_own_database_and_no_other(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    prepare(folder, server, "nats", ["demo"])
    first = read(folder)
    prepare(folder, server, "nats", ["demo"])
    assert read(folder) == first
    assert folder.stat().st_mode & 0o077 == 0

    async def who(url: str) -> str:
        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval("SELECT current_user || ' in ' || current_database()"))
        finally:
            await connection.close()

    for member in MEMBERS:
        name = member.module.replace("_", "-")
        app, owner = first[f"{name}/database-url"], first[f"owners/kehu-{name}"]
        assert asyncio.run(who(app)) == f"kehu_{member.domain} in kehu_{member.domain}"
        assert asyncio.run(who(owner)) == f"kehu_{member.domain}_owner in kehu_{member.domain}"
        assert owner not in "".join(text for path, text in first.items() if path.startswith(f"{name}/"))
        assert first[f"{name}/nats-password"] == first[f"nats/NATS_{member.domain.upper()}_PASSWORD"]
        assert first[f"{name}/nats-password"] in first["nats/nats.conf"]


def test_the_settings_can_be_read_by_the_shell(server: str, tmp_path: Path) -> None:
    folder = tmp_path / str(uuid4())
    prepare(folder, server, "nats")
    script = f"set -a; . {folder / 'sales' / 'env'}; env"
    told = subprocess.run(
        ["sh", "-euc", script], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    lines = dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)
    assert lines["KEHU_DATABASE_URL"] == (folder / "sales" / "database-url").read_text()
    assert (
        lines["KEHU_ADDRESS_SERVICEDESK"] == "kehu-service-desk:50051" and lines["KEHU_NATS_USER"] == "sales"
    )
    assert subprocess.run(["sh", "-n", START], check=False).returncode == 0
