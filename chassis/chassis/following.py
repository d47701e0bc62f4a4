"""References to records of another service that were merged: they follow to the survivor, and go back when that is undone.

The other service tells which records went into which, and when that was undone. Here is kept who went where and what was moved
for it, so that everything comes to the same end when events come late, twice, or those of different survivors in another order::

    CUSTOMERS = Following("customer", Reference(Order, "customer_id", move_order), ...)    # and CONTACTS
    hear_merges(SUBSCRIPTIONS, CUSTOMERS, CONTACTS)              # in listens.py
    hear_purges(SUBSCRIPTIONS, CUSTOMERS, CONTACTS, customer=forget)
    jobs={**CUSTOMERS.jobs, **CONTACTS.jobs}                     # in the composition; install_following_tables() in a migration

Custom fields that refer to such records follow, too, once they are named: `Following("customer", …, custom=CustomReferences(
CUSTOM_FIELDS, tell))`, and `install_custom_references("orders", …)` in a migration.

A record that is written while the merge is heard of, by somebody who had asked before whether the other one is there, is found by
a look some time later; a handler that takes a reference out of an event calls `follow` after it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from kehu.customers.v1 import events_pb2 as events
from sqlalchemy import select, text
from sqlmodel import col

from chassis.answers import forget_answers
from chassis.custom_fields.references import PREFIX, CustomReferences, locked
from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.privacy.person import GONE
from chassis.records import Record

_REPEATED = timedelta(days=1)
"""Whoever has not had an answer asks again within that."""
_LATER = timedelta(seconds=60)
"""No transaction lasts that long: whoever had read of the merged record has written by then."""


@dataclass(frozen=True, slots=True)
class Target:
    """To whom a reference goes. `name` is None where it is not known."""

    id: UUID
    name: str | None


Move = Callable[[Transaction, Any, Target, bool], Awaitable[bool]]
"""`async (tx, row, to, aside) -> aside`: lets the row refer to `to` and records what there is to tell. True when the row had to
be set aside for that, since there is one for `to` already; `aside` says that this was done when it was moved the other way."""
Forget = Callable[[Transaction, UUID], Awaitable[None]]
"""`async (tx, id)`: empties what is copied of that record. It may be repeated."""


@dataclass(frozen=True)
class Reference:
    """A column that refers to such records."""

    table: type[Record]
    column: str
    move: Move

    @property
    def name(self) -> str:
        """The name under which it is kept what was moved."""
        return f"{self.table.__tablename__}.{self.column}"


_WENT = text(
    "INSERT INTO merged_records (tenant_id, merge_id, record_id, survivor_id, survivor_name, undone)"
    " VALUES (:tenant, :merge, :record, :survivor, :name, :undone)"
    " ON CONFLICT (tenant_id, merge_id, record_id) DO UPDATE SET undone = merged_records.undone OR excluded.undone"
)
_WHERE_TO = text(
    "SELECT merge_id, survivor_id, survivor_name FROM merged_records WHERE record_id = :record AND NOT undone"
    " ORDER BY merge_id DESC LIMIT 1"
)
_MOVED = text(
    "INSERT INTO moved_references (tenant_id, merge_id, reference, row_id, former_id, aside)"
    " VALUES (:tenant, :merge, :reference, :row, :former, :aside)"
    " ON CONFLICT (tenant_id, merge_id, reference, row_id) DO UPDATE SET former_id = excluded.former_id, aside = excluded.aside"
)
_TAKE_BACK = text(
    "DELETE FROM moved_references WHERE merge_id = :merge AND reference = :reference RETURNING row_id, former_id, aside"
)
_TAKE_CUSTOM_BACK = text(
    "DELETE FROM moved_references WHERE merge_id = :merge AND starts_with(reference, :prefix)"
    " RETURNING reference, row_id, former_id"
)
# The row has moved on since: when that is undone, it goes back to where it came from in the first place.
_CAME_FROM = text(
    "UPDATE moved_references SET former_id = :former WHERE reference = :reference AND row_id = :row AND former_id = :survivor"
)
_MOVED_CUSTOM = text(
    "SELECT count(DISTINCT row_id) FROM moved_references WHERE merge_id = :merge AND starts_with(reference, :prefix)"
)
_RENAMED = text(
    "UPDATE merged_records SET survivor_name = :name WHERE survivor_id = :survivor AND survivor_name <> :name"
)


class Following:
    """The references of one service to one kind of records."""

    def __init__(self, kind: str, *references: Reference, custom: CustomReferences | None = None) -> None:
        """`kind` is also what custom fields call what they refer to."""
        self._of = kind
        self._kind = f"follow {kind}"
        self._references = references
        self._custom = custom
        self.jobs: Mapping[str, Any] = {self._kind: self._look_again}

    async def merged(
        self, tx: Transaction, merge_id: UUID, survivor: Target, records: Sequence[UUID]
    ) -> None:
        """These records went into the survivor."""
        for id in records:
            await self._note(tx, merge_id, id, survivor, undone=False)
        await self.follow(tx, records)
        payload = {"ids": [str(id) for id in records]}
        await tx.enqueue(self._kind, payload, due_at=tx.now + _LATER, key=str(merge_id))

    async def unmerged(
        self, tx: Transaction, merge_id: UUID, survivor: Target, restored: Sequence[Target]
    ) -> None:
        """The merge was undone: what it moved goes back, unless somebody has given it to another since."""
        for one in restored:
            await self._note(tx, merge_id, one.id, survivor, undone=True)
        names = {one.id: one.name for one in restored}
        for reference in self._references:
            of = {"merge": merge_id, "reference": reference.name}
            for moved in (await tx.session.execute(_TAKE_BACK, of)).all():
                row = await tx.session.get(
                    reference.table, (tx.who.tenant_id, moved.row_id), with_for_update=True, populate_existing=True
                )  # fmt: skip
                if row is not None and getattr(row, reference.column) == survivor.id:
                    former = UUID(str(moved.former_id))
                    await reference.move(tx, row, Target(former, names.get(former)), moved.aside)
                else:
                    came = {
                        "former": moved.former_id, "reference": reference.name, "row": moved.row_id,
                        "survivor": survivor.id,
                    }  # fmt: skip
                    await tx.session.execute(_CAME_FROM, came)
        if self._custom is not None:
            await self._custom_back(tx, self._custom, merge_id, survivor.id)
        await self.follow(tx, [one.id for one in restored])

    async def follow(self, tx: Transaction, ids: Iterable[UUID]) -> None:
        """Moves what refers to these, where they were merged, to where they went, and on from there."""
        waiting, seen = list(ids), set[UUID]()
        while waiting:
            id = waiting.pop()
            if id in seen:
                continue
            seen.add(id)
            went = (await tx.session.execute(_WHERE_TO, {"record": id})).one_or_none()
            if went is None:
                continue
            survivor = Target(UUID(str(went.survivor_id)), went.survivor_name)
            for reference in self._references:
                await self._move(tx, reference, UUID(str(went.merge_id)), id, survivor)
            if self._custom is not None:
                await self._move_custom(tx, self._custom, UUID(str(went.merge_id)), id, survivor.id)
            waiting.append(survivor.id)

    async def renamed(self, tx: Transaction, id: UUID, name: str) -> None:
        """A record has another name: what follows to it later is to show that."""
        await tx.session.execute(_RENAMED, {"survivor": id, "name": name})

    async def _move(
        self, tx: Transaction, reference: Reference, merge_id: UUID, former: UUID, to: Target
    ) -> None:
        column = getattr(reference.table, reference.column)
        found = await tx.session.execute(
            select(reference.table)
            .where(column == former)
            .order_by(col(reference.table.id))
            .with_for_update()
        )
        for row in found.scalars().all():
            aside = await reference.move(tx, row, to, False)
            kept = {
                "tenant": tx.who.tenant_id, "merge": merge_id, "reference": reference.name, "row": row.id,
                "former": former, "aside": aside,
            }  # fmt: skip
            await tx.session.execute(_MOVED, kept)

    async def _move_custom(
        self, tx: Transaction, custom: CustomReferences, merge_id: UUID, former: UUID, to: UUID
    ) -> None:
        for naming in await custom.naming(tx, self._of, former):
            for row in await locked(tx, naming.record, naming.ids):
                if row.custom_fields.get(naming.field.key) != str(former):
                    continue  # somebody has changed it while it was waited for
                custom.refer(tx, row, naming.field, to)
                kept = {
                    "tenant": tx.who.tenant_id, "merge": merge_id, "reference": naming.name, "row": row.id,
                    "former": former, "aside": False,
                }  # fmt: skip
                await tx.session.execute(_MOVED, kept)

    async def _custom_back(
        self, tx: Transaction, custom: CustomReferences, merge_id: UUID, survivor: UUID
    ) -> None:
        of = {"merge": merge_id, "prefix": PREFIX}
        for moved in sorted(
            (await tx.session.execute(_TAKE_CUSTOM_BACK, of)).all(), key=lambda one: one.row_id
        ):
            naming = await custom.named(tx, self._of, moved.reference)
            if naming is None:
                continue  # the field refers to nothing any more, or is gone
            await tx.session.flush()
            there = await locked(tx, naming.record, [moved.row_id])
            if there and there[0].custom_fields.get(naming.field.key) == str(survivor):
                custom.refer(tx, there[0], naming.field, UUID(str(moved.former_id)))
            else:
                came = {
                    "former": moved.former_id, "reference": moved.reference, "row": moved.row_id, "survivor": survivor,
                }  # fmt: skip
                await tx.session.execute(_CAME_FROM, came)

    async def _note(
        self, tx: Transaction, merge_id: UUID, record: UUID, survivor: Target, *, undone: bool
    ) -> None:
        went = {
            "tenant": tx.who.tenant_id, "merge": merge_id, "record": record, "survivor": survivor.id,
            "name": survivor.name or "", "undone": undone,
        }  # fmt: skip
        await tx.session.execute(_WENT, went)

    async def _look_again(self, payload: Mapping[str, Any], call: Any) -> None:
        """The job."""
        async with call.database.transaction(call.who, origin="event") as tx:
            await self.follow(tx, [UUID(id) for id in payload["ids"]])


async def moved_custom(tx: Transaction, merge_id: UUID) -> int:
    """How many records there are whose custom fields a merge has moved."""
    such = {"merge": merge_id, "prefix": PREFIX}
    return int((await tx.session.execute(_MOVED_CUSTOM, such)).scalar_one())


def hear_merges(subscriptions: Subscriptions, customers: Following, contacts: Following) -> None:
    """Lets these follow what customers tells of merges and of their undoing."""

    @subscriptions.on(events.CustomerMerged)
    async def customer_merged(event: events.CustomerMerged, tx: Transaction, envelope: Envelope) -> None:
        survivor = Target(UUID(event.customer_id), event.customer.display_name)
        gone = [UUID(id) for id in event.merged_customer_ids]
        await customers.merged(tx, UUID(event.merge_id), survivor, gone)

    @subscriptions.on(events.CustomerUnmerged)
    async def customer_unmerged(event: events.CustomerUnmerged, tx: Transaction, envelope: Envelope) -> None:
        survivor = Target(UUID(event.customer_id), event.customer.display_name)
        restored = [Target(UUID(one.id), one.display_name) for one in event.restored_customers]
        await customers.unmerged(tx, UUID(event.merge_id), survivor, restored)

    @subscriptions.on(events.ContactMerged)
    async def contact_merged(event: events.ContactMerged, tx: Transaction, envelope: Envelope) -> None:
        survivor = Target(UUID(event.contact_id), event.contact.display_name)
        gone = [UUID(id) for id in event.merged_contact_ids]
        await contacts.merged(tx, UUID(event.merge_id), survivor, gone)

    @subscriptions.on(events.ContactUnmerged)
    async def contact_unmerged(event: events.ContactUnmerged, tx: Transaction, envelope: Envelope) -> None:
        survivor = Target(UUID(event.contact_id), event.contact.display_name)
        restored = [Target(UUID(one.id), one.display_name) for one in event.restored_contacts]
        await contacts.unmerged(tx, UUID(event.merge_id), survivor, restored)


def hear_purges(
    subscriptions: Subscriptions, customers: Following, contacts: Following, *, customer: Forget | None = None,
    contact: Forget | None = None,
) -> None:  # fmt: skip
    """Lets what is copied of customers and contacts that left the trash for good be emptied: the names to which merges lead, and
    what `customer` and `contact` say."""

    async def gone(tx: Transaction, following: Following, ids: Iterable[str], forget: Forget | None) -> None:
        for id in map(UUID, ids):
            await following.renamed(tx, id, GONE)
            if forget is not None:
                await forget(tx, id)
        await forget_answers(tx, tx.now - _REPEATED)

    @subscriptions.on(events.CustomerPurged)
    async def customer_purged(event: events.CustomerPurged, tx: Transaction, envelope: Envelope) -> None:
        await gone(tx, customers, (event.customer_id, *event.merged_customer_ids), customer)

    @subscriptions.on(events.ContactPurged)
    async def contact_purged(event: events.ContactPurged, tx: Transaction, envelope: Envelope) -> None:
        await gone(tx, contacts, (event.contact_id, *event.merged_contact_ids), contact)
