"""The latest that was heard of a record of another service, where what its events say takes each other back.

Events of one record may come late: what was done and taken back again would stick, if the doing were heard behind that.

    if await latest(tx, "lead's customer", lead_id, envelope.version):      # install_latest_heard() in a migration
        ...
"""

from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction

_HEARD = text(
    "INSERT INTO latest_heard AS l (tenant_id, matter, record_id, version) VALUES (:tenant, :matter, :record, :version)"
    " ON CONFLICT (tenant_id, matter, record_id) DO UPDATE SET version = excluded.version"
    " WHERE excluded.version > l.version RETURNING version"
)


async def latest(tx: Transaction, matter: str, record_id: UUID, version: int) -> bool:
    """Whether nothing as new was heard of that record in this matter; others that hear of it wait until this transaction has
    ended."""
    heard = {"tenant": tx.who.tenant_id, "matter": matter, "record": record_id, "version": version}
    return (await tx.session.execute(_HEARD, heard)).first() is not None
