"""Contacts of several customers: what a contact is at each, how it joins and leaves, and what becomes of those who report to it.

The contact's own columns are about its primary customer, whose owner answers for it. What it is at others stands in its
`affiliations`; `contact_affiliations` is their index, with the owner and team of each customer, written in the same transaction.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col

from chassis.database import Transaction, shared_only
from chassis.errors import Denied, NotFound
from chassis.principal import Act
from chassis.visibility import Holder, covers
from customers.contact import WHAT, Contact, ContactDeleted, ContactUpdated, at_each, told
from customers.customer import Customer
from customers.errors import AffiliationPrimary, TooManyAffiliations, customer_not_found, superior_not_found
from customers.reports import check_superior, superiors

MOST = 20

_HOLDERS = text(
    "SELECT c.id, c.owner_id, c.team_id, c.shared_with FROM customers c WHERE c.deleted_at IS NULL AND (c.id = :home"
    " OR c.id IN (SELECT a.customer_id FROM contact_affiliations a WHERE a.contact_id = :contact))"
).columns(id=Uuid, owner_id=Uuid, team_id=Uuid, shared_with=JSONB)
_PUT = text(
    "INSERT INTO contact_affiliations (tenant_id, contact_id, customer_id, reports_to_id, owner_id, team_id)"
    " VALUES (:tenant, :contact, :customer, :superior, :owner, :team) ON CONFLICT (tenant_id, contact_id, customer_id)"
    " DO UPDATE SET reports_to_id = excluded.reports_to_id, owner_id = excluded.owner_id, team_id = excluded.team_id"
)
_TAKE = text("DELETE FROM contact_affiliations WHERE contact_id = :contact AND customer_id = :customer")
_TAKE_ALL = text("DELETE FROM contact_affiliations WHERE contact_id = :contact")
_BELOW = text("SELECT contact_id FROM contact_affiliations WHERE reports_to_id = :contact")
_MEMBERS = text("SELECT contact_id FROM contact_affiliations WHERE customer_id = :customer")


async def seen_contact(tx: Transaction, id: UUID, *, shares: bool = True) -> tuple[Contact, bool]:
    """The contact, locked, if the caller may see it, and whether the caller may change it; without `shares`, by a right of their
    own. Raises NotFound."""
    contact = await tx.find(Contact, id)
    if contact is None:
        raise NotFound("contact", id)
    if covers(contact, tx.who, "customers", Act.WRITE):
        return contact, True
    found = (await tx.session.execute(_HOLDERS, {"home": contact.customer_id, "contact": id})).all()
    holders = {row.id: Holder(row.owner_id, row.team_id, row.shared_with) for row in found}
    home = holders.get(contact.customer_id)
    if shares and home is not None and covers(home, tx.who, "customers", Act.WRITE):
        return contact, True
    if any(covers(one, tx.who, "customers", Act.READ) for one in (contact, *holders.values())):
        return contact, False
    raise NotFound("contact", id)


async def writable_contact(tx: Transaction, id: UUID, *, shares: bool = True) -> Contact:
    """The contact, locked, for changing it; without `shares` for disposing of it. Raises NotFound, and Denied when the caller may
    only see it."""
    contact, writes = await seen_contact(tx, id, shares=shares)
    if not writes:
        raise Denied("You may see this contact but not change it.", reason="RECORD_READ_ONLY")
    return contact


async def customer_for(tx: Transaction, id: UUID, field: str) -> Customer:
    """The customer, locked, whose contacts the caller may change. Raises Invalid (CUSTOMER_NOT_FOUND), Denied."""
    try:
        return await tx.get(Customer, id, right="customers")
    except NotFound:
        raise customer_not_found(field, id) from None


async def join(
    tx: Transaction,
    contact: Contact,
    customer: Customer,
    what: Mapping[str, Any],
    *,
    primary: bool,
    writes: bool,
) -> None:
    """Makes a contact belong to a customer, or changes what it is there; both rows are locked.

    `what` has title, department, decision_role and reports_to_id. Raises Denied, ContactCircle, TooManyAffiliations, Invalid.
    """
    home = customer.id == contact.customer_id
    if (home or primary) and not writes:
        raise Denied("You may see this contact but not change it.", reason="RECORD_READ_ONLY")
    # With another primary customer a contact gets that one's owner: a share of the customer it has is no right to do that.
    if primary and not home and not covers(contact, tx.who, "customers", Act.WRITE):
        raise shared_only("contact")
    if what["reports_to_id"] is not None:
        if what["reports_to_id"] == contact.id:
            raise superior_not_found("affiliation.reportsToId")
        await check_superior(tx, contact.id, customer.id, what["reports_to_id"], "affiliation.reportsToId")
    kept = {"customer_id": str(customer.id)} | {name: _plain(what[name]) for name in WHAT}
    before = standing(contact)
    if home:
        for name in WHAT:
            setattr(contact, name, what[name])
    elif primary:
        await _move(tx, contact, customer, what)
    else:
        others = [one for one in contact.affiliations if one["customer_id"] != str(customer.id)]
        if len(others) + 2 > MOST:
            raise TooManyAffiliations
        await tx.session.flush()
        await put_index(tx, contact.id, customer, what["reports_to_id"])
        contact.affiliations = (
            [kept if one["customer_id"] == str(customer.id) else one for one in contact.affiliations]
            if len(others) < len(contact.affiliations)
            else [*others, kept]
        )
    tell(tx, contact, before)


async def _move(tx: Transaction, contact: Contact, customer: Customer, what: Mapping[str, Any]) -> None:
    """Makes the customer the contact's primary one; what it was at the one before becomes another affiliation."""
    left = await tx.find(Customer, contact.customer_id)
    others = [one for one in contact.affiliations if one["customer_id"] != str(customer.id)]
    if left is not None:
        if len(others) + 2 > MOST:
            raise TooManyAffiliations
        others.append({"customer_id": str(left.id)} | {name: _plain(getattr(contact, name)) for name in WHAT})
        await put_index(tx, contact.id, left, contact.reports_to_id)
    await tx.session.execute(_TAKE, {"contact": contact.id, "customer": customer.id})
    contact.affiliations = others
    contact.customer_id = customer.id
    contact.owner_id, contact.team_id = customer.owner_id, customer.team_id
    contact.primary = False
    for name in WHAT:
        setattr(contact, name, what[name])


async def leave(tx: Transaction, contact: Contact, customer: Customer, successor: UUID | None) -> None:
    """Ends what a contact is at a customer. Raises AffiliationPrimary, Invalid (CUSTOMER_NOT_FOUND, SUPERIOR_NOT_FOUND)."""
    if customer.id == contact.customer_id:
        raise AffiliationPrimary
    there = next((one for one in contact.affiliations if one["customer_id"] == str(customer.id)), None)
    if there is None:
        raise customer_not_found("customerId", customer.id)
    await hand_over(tx, contact, customer.id, there["reports_to_id"], successor, "reportsGoToId")
    before = standing(contact)
    contact.affiliations = [one for one in contact.affiliations if one is not there]
    await tx.session.execute(_TAKE, {"contact": contact.id, "customer": customer.id})
    tell(tx, contact, before)


async def hand_over(
    tx: Transaction, contact: Contact, customer_id: UUID, superior: Any, successor: UUID | None, field: str
) -> None:
    """Those who report to a contact at that customer report to the successor from now on, or to nobody.

    A successor who stands below the contact moves up to its place, so that no circle comes about. The customer's row is locked.
    Raises Invalid (SUPERIOR_NOT_FOUND).
    """
    if successor is not None:
        above = await superiors(tx, customer_id, successor)
        if not above or successor == contact.id:
            raise superior_not_found(field)
        if contact.id in above:
            chief = await tx.find(Contact, successor)
            if chief is not None:
                await report_to(tx, chief, customer_id, UUID(str(superior)) if superior else None)
    for below in await reporting_to(tx, contact.id):
        if below.id != successor and superior_at(below, customer_id) == contact.id:
            await report_to(tx, below, customer_id, successor)


async def reporting_to(tx: Transaction, contact_id: UUID) -> list[Contact]:
    """Those who report to a contact, at whichever customer, locked."""
    ids = list((await tx.session.execute(_BELOW, {"contact": contact_id})).scalars())
    found = await tx.session.execute(
        select(Contact)
        .where((col(Contact.reports_to_id) == contact_id) | col(Contact.id).in_(ids))
        .order_by(col(Contact.id))
        .with_for_update()
    )
    return list(found.scalars())


def superior_at(contact: Contact, customer_id: UUID) -> UUID | None:
    """To whom a contact reports at that customer."""
    if contact.customer_id == customer_id:
        return contact.reports_to_id
    there = next((one for one in contact.affiliations if one["customer_id"] == str(customer_id)), None)
    return UUID(there["reports_to_id"]) if there and there["reports_to_id"] else None


async def report_to(tx: Transaction, contact: Contact, customer_id: UUID, superior: UUID | None) -> None:
    """Lets a contact report to that superior at a customer, and tells it."""
    before = standing(contact)
    if contact.customer_id == customer_id:
        contact.reports_to_id = superior
    else:
        contact.affiliations = [
            {**one, "reports_to_id": _plain(superior)} if one["customer_id"] == str(customer_id) else one
            for one in contact.affiliations
        ]
        await tx.session.execute(
            text(
                "UPDATE contact_affiliations SET reports_to_id = :superior WHERE contact_id = :contact"
                " AND customer_id = :customer"
            ),
            {"superior": superior, "contact": contact.id, "customer": customer_id},
        )
    if contact.deleted_at is None:
        tell(tx, contact, before)


async def dismiss(tx: Transaction, contact: Contact, successor: UUID | None = None) -> None:
    """Deletes a contact; those who reported to it report to the successor where that belongs, else to nobody.

    Raises Invalid (SUPERIOR_NOT_FOUND) for a successor who is no contact of the primary customer.
    """
    await tx.find(Customer, contact.customer_id)
    await hand_over(tx, contact, contact.customer_id, contact.reports_to_id, successor, "reportsGoToId")
    for one in contact.affiliations:
        other = UUID(one["customer_id"])
        await tx.find(Customer, other)
        belongs = successor is not None and bool(await superiors(tx, other, successor))
        await hand_over(
            tx, contact, other, one["reports_to_id"], successor if belongs else None, "reportsGoToId"
        )
    await tx.session.execute(_TAKE_ALL, {"contact": contact.id})
    tx.delete(contact)
    tx.record(ContactDeleted(**told(contact)), on=contact)


async def dismiss_all(tx: Transaction, customer: Customer) -> None:
    """What becomes of the contacts of a customer that goes: those who belong to another one stay there, the others go."""
    ids = list((await tx.session.execute(_MEMBERS, {"customer": customer.id})).scalars())
    found = await tx.session.execute(
        select(Contact)
        .where(
            (col(Contact.customer_id) == customer.id) | col(Contact.id).in_(ids), col(Contact.deleted_at).is_(None)
        )
        .order_by(col(Contact.id))
        .with_for_update()
    )  # fmt: skip
    for contact in found.scalars():
        if contact.customer_id != customer.id:
            before = standing(contact)
            contact.affiliations = [o for o in contact.affiliations if o["customer_id"] != str(customer.id)]
            await tx.session.execute(_TAKE, {"contact": contact.id, "customer": customer.id})
            tell(tx, contact, before)
            continue
        stays = None
        for one in contact.affiliations:
            stays = stays or await tx.find(Customer, UUID(one["customer_id"]))
        if stays is None:
            await tx.session.execute(_TAKE_ALL, {"contact": contact.id})
            tx.delete(contact)
            tx.record(ContactDeleted(**told(contact)), on=contact)
            continue
        before = standing(contact)
        there = next(one for one in contact.affiliations if one["customer_id"] == str(stays.id))
        superior = there["reports_to_id"]
        await _move(tx, contact, stays, {**there, "reports_to_id": UUID(superior) if superior else None})
        contact.affiliations = [o for o in contact.affiliations if o["customer_id"] != str(customer.id)]
        await tx.session.execute(_TAKE, {"contact": contact.id, "customer": customer.id})
        tell(tx, contact, before)


async def hold_charts(tx: Transaction, contacts: Iterable[Contact]) -> None:
    """Nobody else changes who reports to whom at a customer of these contacts before the transaction ends."""
    for id in sorted({UUID(one["customer_id"]) for contact in contacts for one in at_each(contact)}):
        await tx.find(Customer, id)


async def index_anew(tx: Transaction, contact: Contact) -> None:
    """Writes all entries by which a contact is found, from what stands in its row."""
    await tx.session.execute(_TAKE_ALL, {"contact": contact.id})
    for one in contact.affiliations if contact.deleted_at is None else ():
        customer = await tx.find(Customer, UUID(one["customer_id"]), lock=False)
        if customer is not None:
            superior = UUID(one["reports_to_id"]) if one["reports_to_id"] else None
            await put_index(tx, contact.id, customer, superior)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def standing(contact: Contact) -> dict[str, Any]:
    """What a contact is at its customers."""
    return {name: getattr(contact, name) for name in ("customer_id", *WHAT, "primary", "affiliations")}


def tell(tx: Transaction, contact: Contact, before: Mapping[str, Any]) -> None:
    """Records what has changed since it stood as `before`."""
    changed = [name for name, value in before.items() if getattr(contact, name) != value]
    if changed:
        tx.record(ContactUpdated(**told(contact), changed_fields=changed), on=contact)


async def put_index(tx: Transaction, contact_id: UUID, customer: Customer, superior: UUID | None) -> None:
    """Writes the entry by which a contact is found from a customer that is not its primary one."""
    await tx.session.execute(
        _PUT,
        {
            "tenant": tx.who.tenant_id, "contact": contact_id, "customer": customer.id, "superior": superior,
            "owner": customer.owner_id, "team": customer.team_id,
        },
    )  # fmt: skip
