"""The one record of its kind that a tenant has, such as a rule: there is none until it is first changed, and its first values
hold till then."""

from uuid import UUID

from chassis.database import Transaction
from chassis.records import RecordT


async def only(tx: Transaction, table: type[RecordT], id: UUID) -> RecordT:
    """The record; one that is not kept, with the first values, where nobody has made it."""
    return await tx.find(table, id, lock=False) or table(id=id)


async def only_locked(tx: Transaction, table: type[RecordT], id: UUID) -> RecordT:
    """The record for changing it; one that is not there is written down first."""
    found = await tx.find(table, id)
    if found is None:
        found = table(id=id)
        tx.add(found)
        await tx.session.flush()
    return found
