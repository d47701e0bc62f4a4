"""The trash is emptied by the tenant's rule: the rows stay, for ledgers and orders refer to them, and nothing outside of their
history says who it was.

With a customer go its contacts that went with it, and whatever was merged into any of them; what merges, the trash, bulk edits
and imports have kept of them for their undoing; what is said of them in relations, partnerships, cards and postings; and their
notes and files. Other services hear of it (`customer.purged`, `contact.purged`) and empty what they have copied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlmodel import col

from chassis.database import Database, Transaction
from chassis.duplicates.pair import pairs_erased
from chassis.events.event import Event
from chassis.papers import drop_papers
from chassis.principal import Principal
from customers.contact import Contact
from customers.customer import Customer
from customers.trash import PURGE, TrashItem, trash_rule

_EACH = timedelta(hours=1)
_STEP = 100


@dataclass(frozen=True, kw_only=True)
class CustomerPurged(Event):
    """A customer left the trash for good: nobody may keep what they know of it, and of those that had gone into it."""

    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    kind: str
    merged_customer_ids: list[UUID]


@dataclass(frozen=True, kw_only=True)
class ContactPurged(Event):
    """The same of a contact, by itself or with its customer."""

    contact_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    merged_contact_ids: list[UUID]


_DUE = (
    "SELECT t.id FROM trash t, trash_rules r WHERE r.keep_days > 0 AND t.created_at < now() - make_interval(days => r.keep_days)"
    " AND t.deleted_at IS NULL ORDER BY t.created_at LIMIT $1"
)
# With those that went into it by merges, and into these.
_CUSTOMERS = text(
    "WITH RECURSIVE gone AS (SELECT id FROM customers WHERE id = :id AND deleted_at IS NOT NULL"
    " UNION SELECT c.id FROM customers c JOIN gone g ON c.merged_into_id = g.id) SELECT id FROM gone"
)
# A contact that went into one who is elsewhere is that one's past, and stays.
_CONTACTS = text(
    "WITH RECURSIVE gone AS (SELECT id, id AS survivor FROM contacts WHERE deleted_at IS NOT NULL AND (id = :id"
    " OR customer_id = ANY(:customers) AND merged_into_id IS NULL)"
    " UNION SELECT c.id, g.survivor FROM contacts c JOIN gone g ON c.merged_into_id = g.id) SELECT id, survivor FROM gone"
)
# No history of it is written, for it would keep what is taken out.
_EMPTY_CUSTOMERS = text(
    "UPDATE customers SET display_name = '-', search = '{}', search_text = '', phone = '', email = '', website = '',"
    " address = '{}', other_phones = '[]', other_emails = '[]', other_addresses = '[]', accounts = '[]', tax_number = '',"
    " needs = '', tags = '{}', registration_number = '', notes = '', external_key = '', custom_fields = '{}', industry = '',"
    " type = '', region = '', shared_with = '[]', return_reason = '', phone_label = '', email_label = '', address_label = '',"
    " annual_revenue = NULL, annual_revenue_currency = '', employee_count = 0, year_established = 0, version = version + 1,"
    " updated_at = :now, updated_by = :by WHERE id = ANY(:customers) AND deleted_at IS NOT NULL"
)
_EMPTY_CONTACTS = text(
    "UPDATE contacts SET display_name = '-', search = '{}', search_text = '', title = '', department = '', phones = '[]',"
    " emails = '[]', addresses = '[]', im_account = '', account_label = '', other_accounts = '[]', birthday = NULL, notes = '',"
    " external_key = '', custom_fields = '{}', affiliations = '[]', version = version + 1, updated_at = :now, updated_by = :by"
    " WHERE id = ANY(:contacts) AND deleted_at IS NOT NULL"
)
_CARDS_OF = "SELECT id FROM membership_cards WHERE customer_id = ANY(:customers)"
_FORGET_OF_CUSTOMERS = (
    text(
        "UPDATE customer_relations SET notes = '' WHERE notes <> ''"
        " AND (from_customer_id = ANY(:customers) OR to_customer_id = ANY(:customers))"
    ),
    text("UPDATE partners SET notes = '' WHERE notes <> '' AND customer_id = ANY(:customers)"),
    text("UPDATE points_transactions SET reason = '' WHERE reason <> '' AND card_id IN (" + _CARDS_OF + ")"),  # noqa: S608 (a constant)
    text("UPDATE membership_cards SET block_reason = '' WHERE block_reason <> '' AND customer_id = ANY(:customers)"),
)  # fmt: skip
_OF_ROWS = ("customer", "contact", "relation", "partner", "card")
"""The kinds of rows that merges and the trash keep, by their ids."""
_PAGE = 2_000
"""Merges, or items of the trash, that one statement looks through: no index tells whom they keep, for row security would let none
answer such a question."""
_PAGE_OF = "SELECT id FROM (SELECT id FROM {table} WHERE id > :after ORDER BY id LIMIT :page) AS read ORDER BY id DESC LIMIT 1"
_PAGES = {table: text(_PAGE_OF.replace("{table}", table)) for table in ("merges", "trash")}
_OUT_OF = (
    "UPDATE {table} SET kept = (SELECT jsonb_object_agg(kind, CASE WHEN kind = ANY(:kinds)"
    " THEN rows - CAST(:kept AS text[]) ELSE rows END) FROM jsonb_each(kept) AS of (kind, rows))"
    " WHERE EXISTS (SELECT FROM jsonb_each(kept) AS of (kind, rows) WHERE kind = ANY(:kinds) AND rows ?| CAST(:kept AS text[]))"
    " AND id > :after AND id <= :last"
)
_OUT_OF_KEPT = {
    "merges": (
        # A merge of which one end is no more cannot be taken apart; of others, what they keep of those that are no more goes.
        text(
            "UPDATE merges SET kept = '{}', undo_end_time = least(undo_end_time, :now) WHERE kept <> '{}'"
            " AND (survivor_id = ANY(:all) OR merged_ids && CAST(:all AS uuid[])) AND id > :after AND id <= :last"
        ),
        text(_OUT_OF.replace("{table}", "merges")),
    ),
    "trash": (text(_OUT_OF.replace("{table}", "trash")),),
}
_FORGET = (
    text("DELETE FROM custom_values WHERE record_id = ANY(:all)"),
    # When it was deleted is what brings it back, and says nothing of it.
    text(
        "UPDATE bulk_edit_records SET message = '', changes = CASE WHEN changes ? 'deleted_at'"
        " THEN jsonb_build_object('deleted_at', changes -> 'deleted_at') ELSE '{}' END WHERE record_id = ANY(:all)"
    ),
    # An import shows some cells of its file for as long as anybody may look at it.
    text(
        "UPDATE import_runs r SET preview = '[]', columns = (SELECT coalesce(jsonb_agg("
        """one || '{"samples": []}' ORDER BY place), '[]') FROM jsonb_array_elements(r.columns)"""
        " WITH ORDINALITY AS of (one, place))"
        " WHERE r.id IN (SELECT import_id FROM import_effects WHERE record_id = ANY(:all)) AND r.preview <> '[]'"
    ),
    text("UPDATE import_effects SET message = '', changes = '{}' WHERE record_id = ANY(:all)"),
    text("DELETE FROM trash WHERE id = ANY(:items) OR id = ANY(:all)"),
)
_BELONG = text(
    "SELECT id FROM customer_relations WHERE from_customer_id = ANY(:customers) OR to_customer_id = ANY(:customers)"  # noqa: S608 (constants)
    " UNION ALL SELECT id FROM partners WHERE customer_id = ANY(:customers)"
    f" UNION ALL {_CARDS_OF}"
)


async def purge(payload: Mapping[str, Any], call: Any) -> None:
    """The job: empties what the rule says, some in a transaction, and comes again in an hour, whatever becomes of it now. `call`
    is that of the chassis' jobs."""
    database: Database = call.database
    who: Principal = call.who
    async with database.transaction(who, origin="rule") as tx:
        rule = await trash_rule(tx)
        if not rule.keep_days:
            return
        await tx.enqueue(PURGE, {}, due_at=tx.now + _EACH, key=str(tx.who.tenant_id))
    while rows := await database.read(who, _DUE, _STEP):
        async with database.transaction(who, origin="rule") as tx:
            # In one order: two that do it at once do not wait for each other.
            found = [await tx.find(TrashItem, id) for id in sorted(row["id"] for row in rows)]
            await _empty(tx, [item for item in found if item is not None])


@dataclass(frozen=True)
class _Gone:
    """What goes with one item of the trash: itself, contacts, and what had gone into any of them. Contacts with whom they went
    into."""

    id: UUID
    customers: list[UUID]
    contacts: dict[UUID, UUID]


async def _empty(tx: Transaction, items: Sequence[TrashItem]) -> None:
    gone: list[_Gone] = []
    for item in items:
        id = item.id
        # Its row goes by the statements below.
        tx.session.expunge(item)
        customers = await _ids(tx, _CUSTOMERS, {"id": id})
        found = (await tx.session.execute(_CONTACTS, {"id": id, "customers": customers})).all()
        contacts = {UUID(str(row.id)): UUID(str(row.survivor)) for row in found}
        gone.append(_Gone(id, customers, contacts))
    such: dict[str, Any] = {
        "items": [one.id for one in gone], "customers": [id for one in gone for id in one.customers],
        "contacts": [id for one in gone for id in one.contacts], "now": tx.now, "by": tx.who.person_id,
    }  # fmt: skip
    such["all"] = [*such["customers"], *such["contacts"]]
    kept = [*such["all"], *await _ids(tx, _BELONG, such)]
    such |= {"kinds": list(_OF_ROWS), "kept": [str(one) for one in kept], "page": _PAGE}
    # Merges and the trash before what they keep, as whoever undoes or restores takes them.
    await _out_of_kept(tx, such)
    await drop_papers(tx, Contact.record_type, such["contacts"])
    await drop_papers(tx, Customer.record_type, such["customers"])
    for statement in (*_FORGET, _EMPTY_CUSTOMERS, _EMPTY_CONTACTS, *_FORGET_OF_CUSTOMERS):
        await tx.session.execute(statement, _known(statement, such))
    for kind, ids in ((Customer.record_type, such["customers"]), (Contact.record_type, such["contacts"])):
        for one in ids:
            await pairs_erased(tx, kind, one)
    for one in gone:
        await _tell(tx, one.id, one.customers, one.contacts)


async def _out_of_kept(tx: Transaction, such: Mapping[str, Any]) -> None:
    for table, statements in _OUT_OF_KEPT.items():
        after = UUID(int=0)
        while True:
            page = {"after": after, "page": _PAGE}
            last = (await tx.session.execute(_PAGES[table], page)).scalar_one_or_none()
            if last is None:
                break
            page = {**such, "after": after, "last": last}
            for statement in statements:
                await tx.session.execute(statement, _known(statement, page))
            after = UUID(str(last))


def _known(statement: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in statement.compile().params}


async def _ids(tx: Transaction, statement: Any, values: Mapping[str, Any]) -> list[UUID]:
    return sorted(
        UUID(str(one)) for one in (await tx.session.execute(statement, _known(statement, values))).scalars()
    )


async def _tell(tx: Transaction, id: UUID, customers: Sequence[UUID], survivors: Mapping[UUID, UUID]) -> None:
    """Says of what was in the trash that it is no more, in its history and to others, and of the contacts with it."""
    gone = (
        await tx.session.get(Customer, (tx.who.tenant_id, id), populate_existing=True) if customers else None
    )
    if gone is not None:
        merged = [one for one in customers if one != id]
        tx.say(gone, _PURGED)
        tx.record(
            CustomerPurged(
                customer_id=id,
                owner_id=gone.owner_id,
                team_id=gone.team_id,
                kind=gone.kind,
                merged_customer_ids=merged,
            ),
            on=gone,
        )
    wanted = select(Contact).where(col(Contact.id).in_(set(survivors.values()))).order_by(col(Contact.id))
    for contact in (await tx.session.execute(wanted.execution_options(populate_existing=True))).scalars():
        merged = sorted(one for one, into in survivors.items() if into == contact.id and one != contact.id)
        tx.say(contact, _PURGED)
        tx.record(
            ContactPurged(
                contact_id=contact.id, owner_id=contact.owner_id, team_id=contact.team_id, merged_contact_ids=merged
            ),
            on=contact,
        )  # fmt: skip


_PURGED: Mapping[str, list[Any]] = {"purged": [False, True]}
"""What the history says of it."""
