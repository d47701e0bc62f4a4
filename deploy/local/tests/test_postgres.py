"""The embedded PostgreSQL: its place, its account, and what a kill leaves."""

import os
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from kehu_local.postgres import Postgres, server_account


async def count(url: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT count(*) FROM kept")
    finally:
        await connection.close()


async def test_what_was_committed_outlives_a_kill(open_folder: Path) -> None:
    server = Postgres(open_folder / "killed", "secret", open_folder / "killed.log")
    server.start()
    port, first = server.port, server.pid
    try:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE kept (id int)")
        for number in range(20):
            await connection.execute("INSERT INTO kept VALUES ($1)", number)
        server.kill()
        assert not server.alive
        connection.terminate()
        server.start()
        assert server.port == port
        assert server.pid != first
        assert await count(server.url) == 20
        server.stop()
        assert not server.alive
        server.start()
        assert await count(server.url) == 20
    finally:
        server.kill()


async def test_it_listens_on_the_loopback_interface_and_asks_for_the_password(open_folder: Path) -> None:
    server = Postgres(open_folder / "closed", "secret", open_folder / "closed.log")
    server.start()
    try:
        listening = {
            c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url.replace("secret", "wrong"))
        assert stat.S_IMODE((server.home / "data").stat().st_mode) == 0o700
        assert not (server.home / "password").exists()
    finally:
        server.kill()


async def test_no_folder_above_the_data_is_opened(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "var").mkdir()
    server = Postgres(home / "var" / "postgres", "secret", home / "postgres.log")
    server.start()
    try:
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert psutil.Process(server.pid).username() == (server_account() or psutil.Process().username())
        if os.geteuid() == 0:
            assert not server.home.is_relative_to(home)
    finally:
        server.kill()
        if os.geteuid() == 0:
            import shutil

            shutil.rmtree(server.home)
