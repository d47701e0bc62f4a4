"""Alembic, the same for every service, run over asyncpg as the role that owns the tables."""

import asyncio
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

__all__ = ["migrate", "migrate_async"]


async def migrate_async(url: str, folder: Path, revision: str = "head") -> None:
    """Brings a database up to a revision, in one transaction, one migrator at a time.

    `folder` holds `versions/`. Raises what the database raises; nothing is then changed.
    """
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)

    def steps(current: Any, _: Any) -> Any:
        return script._upgrade_revs(revision, current)  # pyright: ignore[reportPrivateUsage]

    def upgrade(connection: Connection) -> None:
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(1801810293)"))
        environment = EnvironmentContext(config, script, fn=steps)
        with environment:
            environment.configure(connection=connection, target_metadata=None, transactional_ddl=True)
            environment.run_migrations()

    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


def migrate(url: str, folder: Path) -> None:
    """The same, from the command line."""
    asyncio.run(migrate_async(url, folder))
