"""References to records of another service that were merged: they follow to the survivor, and go back when that is undone.

The other service tells which records went into which, and when that was undone. Here is kept who went where and what was moved
for it, so that everything comes to the same end when events come late, twice, or those of different survivors in another order::

    CUSTOMERS = Following("customer", Reference(Order, "customer_id", move_order), ...)    # and CONTACTS
    hear_merges(SUBSCRIPTIONS, CUSTOMERS, CONTACTS)              # in listens.py
    hear_names(SUBSCRIPTIONS, CUSTOMERS, rename)                 # where customers' names are copied; install_latest_heard()
    hear_purges(SUBSCRIPTIONS, CUSTOMERS, CONTACTS, customer=forget)
    jobs={**CUSTOMERS.jobs, **CONTACTS.jobs}                     # in the composition; install_following_tables() in a migration

Custom fields that refer to such records follow, too, once they are named: `Following("customer", …, custom=CustomReferences(
CUSTOM_FIELDS, tell))`, and `install_custom_references("orders", …)` in a migration.

A record that is written while the merge is heard of, by somebody who had asked before whether the other one is there, is found by
a look some time later; a handler that takes a reference out of an event calls `follow` after it.

A custom field may name a record in any number of others. So only the first `AT_ONCE` of these are moved in the transaction of the
merge, of its undoing or of the event, and the rest in steps by a job, each a transaction of so many. This holds:

- What is left to do is read from the tables and stands nowhere else: a field that names a record which went is to be moved; what
  `moved_references` holds of a merge that was undone is to be taken back. A step that is repeated, or done twice at a time, finds
  less to do; one that dies has done nothing.
- Nobody waits for a record to move its custom fields. One that somebody else holds is left to a later step; those that an undoing
  puts back itself are taken back in its own transaction, and it holds them anyway.
- Who moves or takes back holds the record, and writes what is kept of the move in the same transaction. Who follows a merge holds
  it (`FOR SHARE`) until then, so that its undoing, which comes after, finds all that was moved for it. That waits for one step.
- A merge is undone as a whole and for good, whether that is heard before the merge or after it. From then on nothing is moved for
  it, and its moves go back before anything else is moved in the same record: a merge of the survivor does not carry along what
  the undoing of another has not come to yet.
- What came back follows once more, should that record have been merged again meanwhile.
- Columns are moved in the transaction itself, and wait for none of this.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from kehu.customers.v1 import customer_pb2
from kehu.customers.v1 import events_pb2 as events
from sqlalchemy import ARRAY, Text, Uuid, bindparam, select, text
from sqlmodel import col

from chassis.custom_fields.references import PREFIX, CustomReferences, Naming, held, locked, table_of
from chassis.database import Transaction
from chassis.errors import Conflict
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.latest import latest
from chassis.privacy.person import GONE
from chassis.records import Record

_LATER = timedelta(seconds=60)
"""No transaction lasts that long: whoever had read of the merged record has written by then."""
AT_ONCE = 200
"""Records whose custom fields are moved in one transaction: for less than others wait for a lock."""


@dataclass(frozen=True, slots=True)
class Target:
    """To whom a reference goes. `name` is None where it is not known."""

    id: UUID
    name: str | None


Move = Callable[[Transaction, Any, Target, bool], Awaitable[bool]]
"""`async (tx, row, to, aside) -> aside`: lets the row refer to `to` and records what there is to tell. True when the row had to
be set aside for that, since there is one for `to` already; `aside` says that this was done when it was moved the other way."""
Rename = Callable[[Transaction, UUID, str], Awaitable[None]]
"""`async (tx, id, name)`: what shows the name of that record shows this one from now on."""
Forget = Callable[[Transaction, UUID, bool], Awaitable[None]]
"""`async (tx, id, person)`: empties what is copied of that record, which was a person's or a company's. It may be repeated."""


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
    " VALUES (:tenant, :merge, :record, :survivor, :name, CAST(:undone AS boolean)"
    " OR EXISTS (SELECT 1 FROM merged_records WHERE merge_id = :merge AND undone))"
    " ON CONFLICT (tenant_id, merge_id, record_id) DO UPDATE SET undone = merged_records.undone OR excluded.undone"
)
_UNDONE = text("UPDATE merged_records SET undone = true WHERE merge_id = :merge AND NOT undone")
_WHERE_TO = text(
    "SELECT merge_id, survivor_id, survivor_name FROM merged_records WHERE record_id = :record AND NOT undone"
    " ORDER BY merge_id DESC LIMIT 1 FOR SHARE"
)
_MOVED = text(
    "INSERT INTO moved_references (tenant_id, merge_id, reference, row_id, former_id, aside)"
    " VALUES (:tenant, :merge, :reference, :row, :former, :aside)"
    " ON CONFLICT (tenant_id, merge_id, reference, row_id) DO UPDATE SET former_id = excluded.former_id, aside = excluded.aside"
)
_TAKE_BACK = text(
    "DELETE FROM moved_references WHERE merge_id = :merge AND reference = :reference RETURNING row_id, former_id, aside"
)
_MOVED_BY = text(
    "SELECT reference, row_id FROM moved_references WHERE merge_id = :merge AND starts_with(reference, :prefix)"
    " ORDER BY reference, row_id LIMIT :most"
)
_MOVED_OF = text(
    "SELECT DISTINCT reference, row_id FROM moved_references WHERE merge_id = :merge AND starts_with(reference, :prefix)"
    " AND row_id = ANY(:rows)"
).bindparams(bindparam("rows", type_=ARRAY(Uuid)))
# A later merge has moved what an earlier one had moved before.
_TAKE_CUSTOM_BACK = text(
    "DELETE FROM moved_references WHERE reference = ANY(:names) AND row_id = ANY(:rows)"
    " AND merge_id IN (SELECT m.merge_id FROM merged_records AS m WHERE m.merge_id = moved_references.merge_id AND m.undone)"
    " RETURNING merge_id, reference, row_id, former_id,"
    " (SELECT m.survivor_id FROM merged_records AS m WHERE m.merge_id = moved_references.merge_id LIMIT 1) AS survivor_id"
).bindparams(bindparam("names", type_=ARRAY(Text)), bindparam("rows", type_=ARRAY(Uuid)))
_FORGET_CUSTOM = text(
    "DELETE FROM moved_references WHERE merge_id = :merge AND starts_with(reference, :prefix) AND row_id = ANY(:rows)"
).bindparams(bindparam("rows", type_=ARRAY(Uuid)))
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
        # A kind of its own: replicas of the version before would leave half of it undone.
        self._rest = f"follow {kind} on"
        self._references = references
        self._custom = custom
        self.named = False
        """Whether names are copied here as they change."""
        self.jobs: Mapping[str, Any] = {self._kind: self._look_again}
        if custom is not None:
            self.jobs = {**self.jobs, self._rest: self._carry_on}

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
        self,
        tx: Transaction,
        merge_id: UUID,
        survivor: Target,
        restored: Sequence[Target],
        first: Sequence[UUID] = (),
    ) -> None:
        """The merge was undone: what it moved goes back, unless somebody has given it to another since. In records that are
        `first`, custom fields are back when this returns, however many others there are."""
        for one in restored:
            await self._note(tx, merge_id, one.id, survivor, undone=True)
        await tx.session.execute(_UNDONE, {"merge": merge_id})
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
        again = {one.id for one in restored}
        if self._custom is not None:
            of = {"merge": merge_id, "prefix": PREFIX, "rows": list(first)}
            found = (await tx.session.execute(_MOVED_OF, of)).all()
            named, _ = await self._take_back(tx, self._custom, merge_id, found, wait=True)
            more, _, left = await self._custom_back(tx, self._custom, merge_id)
            again |= named | more
            if left:
                await tx.enqueue(self._rest, {"undone": str(merge_id)}, key=f"undone {merge_id}")
        await self.follow(tx, sorted(again))

    async def follow(self, tx: Transaction, ids: Iterable[UUID]) -> None:
        """Moves what refers to these, where they were merged, to where they went, and on from there."""
        _, left = await self._follow(tx, ids)
        for id in left:
            await tx.enqueue(self._rest, {"id": str(id)}, key=str(id))

    async def _follow(
        self, tx: Transaction, ids: Iterable[UUID], *, columns: bool = True
    ) -> tuple[int, list[UUID]]:
        """Answers with how many records' custom fields have changed, and which ids are named by more."""
        waiting, seen = list(ids), set[UUID]()
        changed, left = 0, list[UUID]()
        while waiting:
            id = waiting.pop()
            if id in seen:
                continue
            seen.add(id)
            went = (await tx.session.execute(_WHERE_TO, {"record": id})).one_or_none()
            if went is None:
                continue
            survivor = Target(UUID(str(went.survivor_id)), went.survivor_name)
            for reference in self._references if columns else ():
                await self._move(tx, reference, UUID(str(went.merge_id)), id, survivor)
            if self._custom is not None:
                some, again, more = await self._move_custom(
                    tx, self._custom, UUID(str(went.merge_id)), id, survivor.id, AT_ONCE - changed
                )
                changed += some
                left += [id] if more else []
                # Who came back may be on the way to where that one went once more.
                waiting += again
                seen -= again
            waiting.append(survivor.id)
        return changed, left

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
        self, tx: Transaction, custom: CustomReferences, merge_id: UUID, former: UUID, to: UUID, most: int
    ) -> tuple[int, set[UUID], bool]:
        """Answers with how many records it has changed, whom they name again for an undoing, and whether there are more."""
        changed, again, more = 0, set[UUID](), False
        for naming in await custom.naming(tx, self._of, former):
            ids = await custom.ids(tx, naming, former, most - changed + 1)
            more = more or len(ids) > most - changed
            ids = ids[: most - changed]
            if not ids:
                continue
            rows = await locked(tx, naming.record, ids, wait=False)
            more = bool(await held(tx, naming.record, ids, rows)) or more
            again |= await self._settle(tx, custom, naming, rows)
            kept: list[dict[str, Any]] = []
            for row in rows:
                # Somebody may have changed it before it was held.
                fields = {
                    name: field
                    for name, field in naming.fields.items()
                    if row.custom_fields.get(field.key) == str(former)
                }
                if fields:
                    changed += 1
                    custom.refer(tx, row, {field.key: str(to) for field in fields.values()})
                    kept += [
                        {
                            "tenant": tx.who.tenant_id, "merge": merge_id, "reference": name, "row": row.id,
                            "former": former, "aside": False,
                        }
                        for name in fields
                    ]  # fmt: skip
            if kept:
                await tx.session.execute(_MOVED, kept)
        return changed, again, more

    async def _custom_back(
        self, tx: Transaction, custom: CustomReferences, merge_id: UUID
    ) -> tuple[set[UUID], int, bool]:
        """Takes some of what a merge that was undone has moved back. Answers with whom the records name again, how many moves
        were dealt with, and whether there are more."""
        of = {"merge": merge_id, "prefix": PREFIX, "most": AT_ONCE + 1}
        found = (await tx.session.execute(_MOVED_BY, of)).all()
        again, done = await self._take_back(tx, custom, merge_id, found[:AT_ONCE], wait=False)
        return again, done, len(found) > done

    async def _take_back(
        self, tx: Transaction, custom: CustomReferences, merge_id: UUID, found: Sequence[Any], *, wait: bool
    ) -> tuple[set[UUID], int]:
        """Takes these moves back, and whatever else is to be in the same records. Answers with whom they name again, and how many
        of these were dealt with."""
        of_tables: dict[str, list[UUID]] = {}
        for one in found:
            of_tables.setdefault(table_of(one.reference), []).append(one.row_id)
        again, done = set[UUID](), 0
        for table, ids in sorted(of_tables.items()):
            naming = await custom.fields(tx, self._of, table)
            busy = set[UUID]()
            if naming is not None:
                rows = await locked(tx, naming.record, ids, wait=wait)
                busy = await held(tx, naming.record, ids, rows)
                again |= await self._settle(tx, custom, naming, rows)
            free = [id for id in ids if id not in busy]
            done += len(free)
            # What is left now is of fields that refer to nothing any more, and of records that are gone.
            rest = {"merge": merge_id, "prefix": f"{PREFIX}{table} ", "rows": free}
            await tx.session.execute(_FORGET_CUSTOM, rest)
        return again, done

    async def _settle(
        self, tx: Transaction, custom: CustomReferences, naming: Naming, rows: Sequence[Any]
    ) -> set[UUID]:
        """Takes back in these rows, which are held, what merges that were undone have moved, the last first. Answers with whom
        they name again."""
        if not rows:
            return set()
        asked = {"names": list(naming.fields), "rows": [row.id for row in rows]}
        found = (await tx.session.execute(_TAKE_CUSTOM_BACK, asked)).all()
        moves: dict[UUID, list[Any]] = {}
        for one in sorted(found, key=lambda one: one.merge_id, reverse=True):
            moves.setdefault(one.row_id, []).append(one)
        again, came = set[UUID](), list[dict[str, Any]]()
        for row in rows:
            back: dict[str, str] = {}
            for one in moves.get(row.id, ()):
                key = naming.fields[one.reference].key
                if back.get(key, row.custom_fields.get(key)) == str(one.survivor_id):
                    back[key] = str(one.former_id)
                    again.add(UUID(str(one.former_id)))
                else:
                    came.append({
                        "former": one.former_id, "reference": one.reference, "row": one.row_id,
                        "survivor": one.survivor_id,
                    })  # fmt: skip
            if back:
                custom.refer(tx, row, back)
        if came:
            await tx.session.execute(_CAME_FROM, came)
        return again

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

    async def _carry_on(self, payload: Mapping[str, Any], call: Any) -> None:
        """The job that moves what was too much for one transaction, or takes it back. Raises Conflict when all that is left is
        held by others: then it comes again later."""
        left = True
        while left:
            async with call.database.transaction(call.who, origin="event") as tx:
                changed, left = await self._step(tx, payload)
            if left and not changed:
                raise Conflict("Somebody else holds the records that are left.", reason="RECORD_BUSY")

    async def _step(self, tx: Transaction, payload: Mapping[str, Any]) -> tuple[int, bool]:
        """Answers with how much was done, and whether there is more."""
        if self._custom is None:
            return 0, False
        if "undone" in payload:
            again, done, left = await self._custom_back(tx, self._custom, UUID(payload["undone"]))
            await self.follow(tx, sorted(again))
            return done, left
        changed, left_of = await self._follow(tx, [UUID(payload["id"])], columns=False)
        return changed, bool(left_of)


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


_NAME = "customer's name"
_FOR_GOOD = 2**31 - 1
"""Later than any version: whoever left the trash for good gets no name again, however late one is told."""


def hear_names(subscriptions: Subscriptions, customers: Following, rename: Rename) -> None:
    """Lets a customer's new name be shown, unless a later one has been heard of or the customer has left the trash for good."""
    customers.named = True

    @subscriptions.on(events.CustomerUpdated, when=lambda event: "displayName" in event.changed_fields)
    async def customer_updated(event: events.CustomerUpdated, tx: Transaction, envelope: Envelope) -> None:
        id, name = UUID(event.customer_id), event.customer.display_name
        if await latest(tx, _NAME, id, envelope.version):
            await rename(tx, id, name)
            await customers.renamed(tx, id, name)


def hear_purges(
    subscriptions: Subscriptions, customers: Following, contacts: Following, *, customer: Forget | None = None,
    contact: Forget | None = None,
) -> None:  # fmt: skip
    """Lets what is copied of customers and contacts that left the trash for good be emptied: the names to which merges lead, and
    what `customer` and `contact` say."""

    async def gone(
        tx: Transaction, following: Following, ids: Iterable[str], forget: Forget | None, person: bool
    ) -> None:
        for id in map(UUID, ids):
            if following.named:
                await latest(tx, _NAME, id, _FOR_GOOD)
            await following.renamed(tx, id, GONE)
            if forget is not None:
                await forget(tx, id, person)

    @subscriptions.on(events.CustomerPurged)
    async def customer_purged(event: events.CustomerPurged, tx: Transaction, envelope: Envelope) -> None:
        person = event.kind == customer_pb2.CUSTOMER_KIND_PERSON
        await gone(tx, customers, (event.customer_id, *event.merged_customer_ids), customer, person)

    @subscriptions.on(events.ContactPurged)
    async def contact_purged(event: events.ContactPurged, tx: Transaction, envelope: Envelope) -> None:
        await gone(tx, contacts, (event.contact_id, *event.merged_contact_ids), contact, True)
