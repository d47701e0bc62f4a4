"""Mappings that were confirmed once are proposed the next time: by tenant, record type and set of headers, in whatever order.

A header that stands twice counts by its turn. What was mapped to a field that is gone is left out.
"""

import hashlib
from collections.abc import Mapping, Sequence

import orjson
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from chassis.database import Transaction
from chassis.imports.importer import Importer
from chassis.imports.mapping import plain
from chassis.imports.tables import MAPPINGS

Words = Sequence[Sequence[str]]
"""Triples of field, text and value."""


def names_of(header: Sequence[str]) -> list[str]:
    """The columns' names, each once."""
    seen: dict[str, int] = {}
    out: list[str] = []
    for cell in header:
        name = plain(cell)
        seen[name] = seen.get(name, 0) + 1
        out.append(f"{name} {seen[name]}")
    return out


def _set_of(names: Sequence[str]) -> str:
    return hashlib.sha256(orjson.dumps(sorted(names))).hexdigest()


async def remember(
    tx: Transaction, kind: str, header: Sequence[str], mapping: Mapping[int, str], words: Words
) -> None:
    """Keeps a confirmed mapping for the next file with these headers."""
    names = names_of(header)
    values = {
        "fields": [[names[column], field] for column, field in sorted(mapping.items())],
        "words": [list(one) for one in words],
        "updated_at": tx.now,
        "updated_by": tx.who.person_id,
    }
    key = {"tenant_id": tx.who.tenant_id, "kind": kind, "headers": _set_of(names)}
    await tx.session.execute(
        insert(MAPPINGS)
        .values(**key, **values)
        .on_conflict_do_update(index_elements=["tenant_id", "kind", "headers"], set_=values)
    )


async def recalled(
    tx: Transaction, importer: Importer, header: Sequence[str]
) -> tuple[dict[int, str], list[list[str]]] | None:
    """The mapping and the words confirmed for these headers, as far as their fields are still there; None when there are none."""
    names = names_of(header)
    found = await tx.session.execute(
        select(MAPPINGS.c.fields, MAPPINGS.c.words).where(
            MAPPINGS.c.kind == importer.record_type, MAPPINGS.c.headers == _set_of(names)
        )
    )
    row = found.one_or_none()
    if row is None:
        return None
    fields = {target.field for target in importer.targets}
    places = {name: column for column, name in enumerate(names)}
    mapping = {places[name]: field for name, field in row.fields if field in fields and name in places}
    return mapping, [list(one) for one in row.words if one[0] in fields]
