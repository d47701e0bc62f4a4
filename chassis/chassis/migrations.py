"""Alembic, the same for every service, run over asyncpg as the role that owns the tables.

A migration that changes tables already in use builds indexes concurrently, which no transaction can hold:
`with op.get_context().autocommit_block(): build_index("leads_name", "leads (tenant_id, name)")` (`chassis.schema`).
"""

import asyncio
import io
from pathlib import Path
from threading import Lock
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

__all__ = ["migrate", "migrate_async", "rendered"]

_LOCK = text("SELECT pg_try_advisory_lock(1801810293)")
_PATIENCE = "SET lock_timeout = '5s'"
"""Nobody who serves waits longer than this behind a migration that cannot have its lock."""
_ONE = Lock()
"""Alembic keeps the migration in work in globals of the process."""
_LOOK = 0.1
"""Seconds between two attempts at the lock. Waiting inside a statement would hold up whoever builds an index concurrently."""


async def migrate_async(url: str, folder: Path, revision: str = "head") -> None:
    """Brings a database up to a revision, each migration in a transaction of its own, one migrator at a time.

    `folder` holds `versions/`. Raises what the database raises; the migration that failed has then changed nothing, but for
    what it did outside of a transaction.
    """
    config, script = _scripts(folder)
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)

    def steps(current: Any, _: Any) -> Any:
        return script._upgrade_revs(revision, current)  # pyright: ignore[reportPrivateUsage]

    def upgrade(connection: Connection) -> None:
        environment = EnvironmentContext(config, script, fn=steps)
        with environment:
            environment.configure(
                connection=connection, target_metadata=None, transactional_ddl=True, transaction_per_migration=True
            )  # fmt: skip
            environment.run_migrations()
        connection.commit()

    try:
        async with engine.connect() as connection:
            await _alone(connection)
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


async def _alone(connection: AsyncConnection) -> None:
    """Waits for the lock of migrators, which ends with the connection."""
    await connection.execute(text(_PATIENCE))
    while not (await connection.execute(_LOCK)).scalar_one():
        await connection.commit()
        await asyncio.sleep(_LOOK)
    await connection.commit()


def migrate(url: str, folder: Path) -> None:
    """The same, outside of a loop, and from any thread."""
    with _ONE:
        asyncio.run(migrate_async(url, folder))


def rendered(folder: Path, owner: str) -> dict[str, str]:
    """The SQL of each migration in their order, by revision, as that role would run it. No database is asked."""
    config, script = _scripts(folder)
    found: dict[str, str] = {}
    for revision in reversed([*script.walk_revisions()]):
        before, here = revision.down_revision, revision.revision

        def step(_: Any, __: Any, to: str = here, since: Any = before) -> Any:
            return script._upgrade_revs(to, since)  # pyright: ignore[reportPrivateUsage]

        written = io.StringIO()
        environment = EnvironmentContext(config, script, fn=step, as_sql=True, starting_rev=before)
        with environment:
            environment.configure(
                dialect_name="postgresql", output_buffer=written, transactional_ddl=True, owner=owner
            )
            with environment.begin_transaction():
                environment.run_migrations()
        found[here] = f"{_PATIENCE};\n\n{written.getvalue()}"
    return found


def _scripts(folder: Path) -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    return config, ScriptDirectory.from_config(config)
