"""The work behind files: bytes that nobody claims go, and what is missing is told.

`forget` removes the bytes of deleted files and of uploads that died half way. Each night `look_at_files` asks for every row
whether its bytes are there, and counts the bytes of which no row speaks; those it leaves to the operator's command, for a
database that was restored to the wrong point must not cost the files as well.
"""

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from chassis.attachments.attachment import FORGET
from chassis.attachments.files import Files, Stored, files_at, prefix_of
from chassis.database import Database, Transaction, read_across
from chassis.principal import NOBODY, Principal

if TYPE_CHECKING:
    from chassis.service import Running

log = logging.getLogger(__name__)

LOOK = "look at files"
"""The kind of the nightly job. Its key is the tenant."""
_HOUR = 19
"""UTC: three at night in China."""
_STEP = 500
_YOUNG = timedelta(days=1)
"""Bytes younger than that may belong to an upload in work."""

_ROWS = (
    "SELECT id, storage_key, size_bytes, missing_time FROM attachments WHERE deleted_at IS NULL AND id > $1"
    " ORDER BY id LIMIT $2"
)
_SPOKEN = "SELECT storage_key FROM attachments WHERE storage_key = ANY($1::text[]) AND deleted_at IS NULL"
_MISSING = text("UPDATE attachments SET missing_time = :now WHERE id = :id AND missing_time IS NULL")
_THERE = text("UPDATE attachments SET missing_time = NULL WHERE id = :id AND missing_time IS NOT NULL")
_GONE = text("DELETE FROM attachments WHERE storage_key = :key AND deleted_at IS NOT NULL")
_ANY = "SELECT EXISTS (SELECT FROM attachments WHERE deleted_at IS NULL) AS there"


async def forget(payload: Mapping[str, Any], call: Any) -> None:
    """The job: removes the bytes under a key, unless a row speaks of them, and then the row of a deleted file."""
    key = str(payload["storage_key"])
    if await call.database.read(call.who, _SPOKEN, [key]):
        return
    await files_at(call.settings.files_url).forget(key)
    async with call.database.transaction(call.who, origin="job") as tx:
        await tx.session.execute(_GONE, {"key": key})


async def look_tonight(tx: Transaction) -> None:
    """Has the tenant's files looked at in the coming night."""
    due = tx.now.replace(hour=_HOUR, minute=tx.who.tenant_id.int % 60, second=0, microsecond=0)
    due += timedelta(days=0 if due > tx.now else 1)
    await tx.enqueue(LOOK, {}, due_at=due, key=str(tx.who.tenant_id))


async def look_at_files(payload: Mapping[str, Any], call: Any) -> None:
    """The job: looks, tells what it has found, and waits for the next night."""
    files = files_at(call.settings.files_url)
    found = await look(call.database, call.who, files, call.service)
    if found.missing or found.strays:
        log.error("files of tenant %s: %s", call.who.tenant, json.dumps(asdict(found)))
    if (await call.database.read(call.who, _ANY))[0]["there"]:
        async with call.database.transaction(call.who, origin="job") as tx:
            await look_tonight(tx)


@dataclass
class Found:
    """What a look has found."""

    files: int = 0
    missing: int = 0
    """Rows without their bytes, or with others in number."""
    strays: int = 0
    """Bytes under keys of which no row speaks, older than a day."""
    removed: int = 0


async def look(
    database: Database, who: Principal, files: Files, service: str, *, remove_strays: bool = False
) -> Found:
    """Compares rows and bytes of one tenant. A row without bytes is marked; one that has them again no longer is."""
    found = Found()
    async for row in _rows(database, who):
        found.files += 1
        stored = await files.look(row["storage_key"])
        lost = stored is None or stored.size != row["size_bytes"]
        found.missing += lost
        if lost != (row["missing_time"] is not None):
            async with database.transaction(who, origin="job") as tx:
                await tx.session.execute(_MISSING if lost else _THERE, {"id": row["id"], "now": tx.now})
    async for stray in _strays(database, who, files, service):
        found.strays += 1
        if remove_strays:
            await files.forget(stray.key)
            found.removed += 1
    return found


async def _rows(database: Database, who: Principal) -> AsyncGenerator[Any]:
    last = NOBODY
    while rows := await database.read(who, _ROWS, last, _STEP):
        for row in rows:
            yield row
        last = rows[-1]["id"]


async def _strays(database: Database, who: Principal, files: Files, service: str) -> AsyncGenerator[Stored]:
    async for some in files.all(prefix_of(service, who.tenant_id)):
        old = [one for one in some if one.changed_at < datetime.now(UTC) - _YOUNG]
        if old:
            spoken = {
                row["storage_key"] for row in await database.read(who, _SPOKEN, [one.key for one in old])
            }
            for one in old:
                if one.key not in spoken:
                    yield one


async def check_files(running: "Running", arguments: list[str]) -> None:
    """`python -m leads check-files [--remove-strays]`: compares rows and bytes of every tenant, a line of JSON each."""
    settings = running.settings
    tenants = await read_across(
        settings.relay_database_url.get_secret_value(),
        "SELECT DISTINCT tenant_id, tenant FROM jobs WHERE kind = $1",
        LOOK,
    )
    files = files_at(settings.files_url)
    for row in tenants:
        who = Principal(
            tenant_id=UUID(str(row["tenant_id"])), tenant=row["tenant"], person_id=NOBODY, service=running.service.name
        )  # fmt: skip
        found = await look(
            running.database, who, files, running.service.name, remove_strays="--remove-strays" in arguments
        )
        print(json.dumps({"tenant": who.tenant, **asdict(found)}))


ATTACHMENT_JOBS = {FORGET: forget, LOOK: look_at_files}
"""The background work of files, for the service's composition."""
ATTACHMENT_COMMANDS = {"check-files": check_files}
"""What an operator may say about files."""
