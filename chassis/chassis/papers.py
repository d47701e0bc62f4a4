"""What becomes of the notes and files on records that are merged, parted again or emptied, within one service.

kept["papers"] = await move_papers(tx, "customer", merged_ids, survivor_id)     # in the merge
await papers_back(tx, "customer", kept["papers"], survivor_id)                  # when it is undone
await drop_papers(tx, "customer", [id])                                         # when nothing is to be left
found = await papers_on(tx, "customer", ids)                                    # before records are taken away
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import TextClause, text

from chassis.attachments.attachment import forget_file
from chassis.database import Transaction

Papers = dict[str, dict[str, list[str]]]
"""Table → the former record's id → the ids of what was moved from it."""

_MOVE = (
    "UPDATE {table} n SET record_id = :to, version = n.version + 1, updated_at = :now FROM {table} before"
    " WHERE before.tenant_id = n.tenant_id AND before.id = n.id AND n.of_type = :type AND n.record_id = ANY(:ids)"
    " AND n.deleted_at IS {not} NULL RETURNING n.id, before.record_id AS former"
)
_BACK = (
    "UPDATE {table} SET record_id = :former, version = version + 1, updated_at = :now"
    " WHERE id = ANY(:ids) AND of_type = :type AND record_id = :survivor"
)
_DROP_NOTES = "DELETE FROM notes WHERE of_type = :type AND record_id = ANY(:ids) AND deleted_at IS {not} NULL"
_DROP_FILES = (
    "DELETE FROM attachments WHERE of_type = :type AND record_id = ANY(:ids) AND deleted_at IS {not} NULL"
    " RETURNING storage_key"
)


def _both(statement: str) -> list[TextClause]:
    """The statement for what is there, and for what was deleted before: each has an index of its own, and none has both."""
    return [text(statement.replace("{not} ", word)) for word in ("", "NOT ")]


_MOVES: Mapping[str, list[TextClause]] = {
    table: _both(_MOVE.replace("{table}", table)) for table in ("notes", "attachments")
}
_BACKS: Mapping[str, TextClause] = {table: text(_BACK.replace("{table}", table)) for table in _MOVES}
_NOTES_DROPPED, _FILES_DROPPED = _both(_DROP_NOTES), _both(_DROP_FILES)


async def move_papers(
    tx: Transaction, record_type: str, from_ids: Sequence[UUID], survivor_id: UUID
) -> Papers:
    """Takes what is on records that went into another to that one; says what, for `papers_back`."""
    moved: Papers = {}
    such = {"to": survivor_id, "now": tx.now, "type": record_type, "ids": list(from_ids)}
    for table, statements in _MOVES.items():
        for statement in statements:
            for row in (await tx.session.execute(statement, such)).all():
                moved.setdefault(table, {}).setdefault(str(row.former), []).append(str(row.id))
    return moved


async def papers_back(tx: Transaction, record_type: str, moved: Papers, survivor_id: UUID) -> None:
    """Brings back what `move_papers` took to that record, unless it has moved on since."""
    for table, former_ids in moved.items():
        for former, ids in former_ids.items():
            back = {
                "former": UUID(former), "now": tx.now, "ids": [UUID(id) for id in ids], "type": record_type,
                "survivor": survivor_id,
            }  # fmt: skip
            await tx.session.execute(_BACKS[table], back)


async def drop_papers(tx: Transaction, record_type: str, ids: Sequence[UUID]) -> None:
    """Leaves nothing of what is on those records: rows now, the bytes of files soon."""
    such = {"type": record_type, "ids": list(ids)}
    for statement in _NOTES_DROPPED:
        await tx.session.execute(statement, such)
    for statement in _FILES_DROPPED:
        for row in (await tx.session.execute(statement, such)).all():
            await forget_file(tx, row.storage_key)


_ON = {
    words: text(
        f"SELECT DISTINCT record_id FROM {table} WHERE of_type = :type AND record_id = ANY(:ids) AND deleted_at IS NULL"  # noqa: S608 (constants)
    )
    for words, table in (("notes", "notes"), ("files", "attachments"))
}


async def papers_on(tx: Transaction, record_type: str, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """What is on those of the records that have something: "notes", "files"."""
    found: dict[UUID, list[str]] = {}
    for words, statement in _ON.items():
        for id in (await tx.session.execute(statement, {"type": record_type, "ids": list(ids)})).scalars():
            found.setdefault(UUID(str(id)), []).append(words)
    return found
