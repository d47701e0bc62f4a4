"""Migrations over a real database: an index is built beside those who write, and migrators do not meet."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chassis.migrations import migrate_async, rendered
from chassis.testing import DatabaseUrls

_FIRST = """
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    op.execute("CREATE TABLE things (tenant_id uuid NOT NULL, id uuid NOT NULL, name text, PRIMARY KEY (tenant_id, id))")
"""
_SECOND = """
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS things_name ON things (tenant_id, name)")
"""
_BROKEN = """
from alembic import op

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE things ADD COLUMN more text")
    op.execute("SELECT 1 / 0")
"""
_STATE = "SELECT version_num, to_regclass('things_name')::text AS index FROM alembic_version"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "0001.py").write_text(_FIRST)
    (tmp_path / "versions" / "0002.py").write_text(_SECOND)
    return tmp_path


async def asked(url: str, sql: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row.values()) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def test_an_index_is_built_beside_a_writer_by_one_of_two_migrators(
    folder: Path, service_database: Callable[..., DatabaseUrls]
) -> None:
    url = service_database("leads", empty=True).owner
    await migrate_async(url, folder, "0001")
    writer = await asyncpg.connect(url)
    try:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("INSERT INTO things VALUES (gen_random_uuid(), gen_random_uuid(), 'a')")
        both = asyncio.gather(migrate_async(url, folder), migrate_async(url, folder))
        until = asyncio.get_running_loop().time() + 20
        # It waits for the writer, who is not kept from writing more.
        while not await asked(url, "SELECT 1 FROM pg_stat_progress_create_index"):
            assert asyncio.get_running_loop().time() < until and not both.done()
        await writer.execute("INSERT INTO things VALUES (gen_random_uuid(), gen_random_uuid(), 'b')")
        await transaction.commit()
        await both
    finally:
        await writer.close()
    assert await asked(url, _STATE) == [("0002", "things_name")]


async def test_a_migration_that_fails_changes_nothing_and_those_before_it_stay(
    folder: Path, service_database: Callable[..., DatabaseUrls]
) -> None:
    (folder / "versions" / "0003.py").write_text(_BROKEN)
    url = service_database("leads", empty=True).owner
    with pytest.raises(Exception, match="division by zero"):
        await migrate_async(url, folder)
    assert await asked(url, _STATE) == [("0002", "things_name")]
    assert (
        await asked(
            url, "SELECT 1 FROM pg_attribute WHERE attname = 'more' AND attrelid = 'things'::regclass"
        )
        == []
    )


async def test_the_sql_that_is_shown_is_the_sql_that_is_run(
    folder: Path, service_database: Callable[..., DatabaseUrls]
) -> None:
    url = service_database("leads", empty=True).owner
    connection = await asyncpg.connect(url)
    try:
        for sql in rendered(folder, "kehu_leads_owner").values():
            for statement in filter(None, map(str.strip, sql.split(";"))):
                await connection.execute(statement)
    finally:
        await connection.close()
    assert await asked(url, _STATE) == [("0002", "things_name")]
