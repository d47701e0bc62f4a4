"""What notes and files are on: the kinds of records of a service that have them, who may read these and who may write them.

    SUBJECTS = Subjects(Subject(CUSTOMERS), Subject(CONTACTS, writable=writable_contact))

Notes and files have no owner of their own: whoever may read the record reads them, and whoever may write it writes them. So they
go with a record that is given to another, without a row of theirs being touched.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chassis.database import Transaction
from chassis.errors import Denied, NotFound
from chassis.listing import Caller, Listing
from chassis.principal import Act, Principal, Reach
from chassis.record_types import for_type
from chassis.records import Record

Writable = Callable[[Transaction, UUID], Awaitable[Record]]
"""`async (tx, id) -> record`: the record, locked, for adding something to it. Raises NotFound when the caller may not read it,
Denied when reading is all the caller may, and what else stands in the way."""


class NotTheAuthor(Denied):
    """Somebody else wrote it."""

    reason = "NOT_THE_AUTHOR"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"Somebody else added this {what}: only they, and who may write all records, may do this."
        )


@dataclass(frozen=True)
class Subject:
    """A kind of record that has notes and files. `listing` says who reads it, `writable` who writes it: whom its right's write
    reach covers, unless something else is given. `events` are classes of its own for what is told, where the right
    by which others hear of it is not that of the service's other records: by the class in whose place they stand."""

    listing: Listing
    writable: Writable | None = None
    events: Mapping[type[Any], type[Any]] = field(default_factory=dict[type[Any], type[Any]])

    @property
    def record_type(self) -> str:
        """The record's name, as customer."""
        return self.listing.record_type

    @property
    def right(self) -> str:
        """The right by which its records are read and written."""
        return self.listing.right or ""

    def told_by(self, event: type[Any]) -> type[Any]:
        """The class by which something of that kind is told."""
        return self.events.get(event, event)

    def check_author(self, who: Principal, author_id: UUID, what: str) -> None:
        """Raises NotTheAuthor unless the caller is, or may write all such records."""
        if author_id != who.person_id and who.reach(self.right, Act.WRITE) is not Reach.ALL:
            raise NotTheAuthor(what)


class Subjects:
    """The kinds of records of one service that have notes and files."""

    def __init__(self, *subjects: Subject) -> None:
        self._by_type: Mapping[str, Subject] = {one.record_type: one for one in subjects}

    def of(self, record_type: str, field: str) -> Subject:
        """The kind of that name. Raises Invalid (RECORD_TYPE_UNKNOWN) naming `field`."""
        return for_type(self._by_type, record_type, field, "has no notes and files")

    async def check_seen(self, call: Caller, record_type: str, id: UUID) -> None:
        """Raises NotFound unless the caller may read the record."""
        known = self._by_type.get(record_type)
        if known is None:  # a kind of record that no longer has any
            raise NotFound(record_type, id)
        await known.listing.get(call, id)

    async def writable(self, tx: Transaction, subject: Subject, id: UUID) -> Record:
        """The record, locked, for adding something to it. Raises NotFound, Denied, and what the kind of record says."""
        if subject.writable is not None:
            return await subject.writable(tx, id)
        return await tx.get(subject.listing.row, id, right=subject.right)


def holder_of(record: Any) -> dict[str, UUID | None]:
    """Who answers for a record, for events about what is on it."""
    return {"owner_id": getattr(record, "owner_id", None), "team_id": getattr(record, "team_id", None)}
