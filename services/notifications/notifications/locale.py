"""The languages and time zones of people and of their company, as identity tells them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from chassis.database import Database, Transaction
from chassis.principal import Principal

_LANGUAGE, _TIME_ZONE = "zh-CN", "Asia/Shanghai"
"""What a company has that has not said otherwise."""


@dataclass(frozen=True, slots=True)
class Locale:
    """How somebody is told things."""

    language: str
    time_zone: str


_KEEP = text(
    "INSERT INTO locales AS l (tenant_id, id, language_code, time_zone, version, event_id)"
    " VALUES (:tenant, :id, :language, :zone, :version, :event)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET language_code = excluded.language_code, time_zone = excluded.time_zone,"
    " version = excluded.version, event_id = excluded.event_id"
    " WHERE (l.version, l.event_id) < (excluded.version, excluded.event_id)"
)
_READ = "SELECT id, language_code, time_zone FROM locales WHERE id = ANY($1::uuid[])"
_FIND = text("SELECT id, language_code, time_zone FROM locales WHERE id = ANY(:ids)")


async def keep_locale(tx: Transaction, id: UUID, told: Locale, version: int, event_id: UUID) -> None:
    """What identity says of a person, or of the tenant by its id, unless a newer event has spoken."""
    row = {
        "tenant": tx.who.tenant_id, "id": id, "language": told.language, "zone": told.time_zone,
        "version": version, "event": event_id,
    }  # fmt: skip
    await tx.session.execute(_KEEP, row)


async def locale_of(tx: Transaction, person_id: UUID) -> Locale:
    """How that person is told things; what they have not chosen is as the company has it."""
    found = await tx.session.execute(_FIND, {"ids": [person_id, tx.who.tenant_id]})
    return _chosen({row.id: Locale(row.language_code, row.time_zone) for row in found}, person_id, tx.who)


async def own_locale(database: Database, who: Principal) -> Locale:
    """How the caller is told things."""
    rows = await database.read(who, _READ, [who.person_id, who.tenant_id])
    known = {row["id"]: Locale(row["language_code"], row["time_zone"]) for row in rows}
    return _chosen(known, who.person_id, who)


def _chosen(known: dict[UUID, Locale], person_id: UUID, who: Principal) -> Locale:
    ranked = [known[id] for id in (person_id, who.tenant_id) if id in known]
    return Locale(
        next((one.language for one in ranked if one.language), _LANGUAGE),
        next((one.time_zone for one in ranked if one.time_zone), _TIME_ZONE),
    )
