"""What customers holds about a person: contacts and consumers, and what was kept of them for undoing."""

from typing import Any

from sqlalchemy import text

from chassis.database import Transaction
from chassis.duplicates.pair import pairs_erased
from chassis.privacy.holding import Holding
from chassis.privacy.papers import papers_of
from chassis.privacy.privacy import Privacy
from customers.affiliation import dismiss
from customers.contact import Contact
from customers.customer import Customer
from customers.partner import Partner
from customers.points.cards import Card
from customers.points.ledger import Entry
from customers.relation import CustomerRelation
from customers.trash import trash_customer
from customers.value.worth import value_of

HELD = ("legal_hold", "法律保全")
"""Labels that say somebody may yet ask for what is kept of a customer."""
_FORGET_TRASH = text("DELETE FROM trash WHERE id = :id")
_OUT_OF_TRASH = text(
    "UPDATE trash SET kept = kept #- ARRAY[:kind, CAST(CAST(:id AS uuid) AS text)]"
    " WHERE kept -> :kind ? CAST(CAST(:id AS uuid) AS text)"
)
# A merge by which the person came into one record cannot be taken apart any more; of others only the person is taken out.
_FORGET_MERGE = text(
    "UPDATE merges SET kept = '{}', undo_end_time = least(undo_end_time, now())"
    " WHERE (survivor_id = :id OR :id = ANY(merged_ids)) AND kept <> '{}'"
)
_OUT_OF_MERGES = text(
    "UPDATE merges SET kept = kept #- ARRAY[:kind, CAST(CAST(:id AS uuid) AS text)]"
    " WHERE kept -> :kind ? CAST(CAST(:id AS uuid) AS text)"
)


async def _forget_kept(tx: Transaction, kind: str, id: Any) -> None:
    await pairs_erased(tx, kind, id)
    await tx.session.execute(_FORGET_TRASH, {"id": id})
    await tx.session.execute(_FORGET_MERGE, {"id": id})
    for statement in (_OUT_OF_TRASH, _OUT_OF_MERGES):
        await tx.session.execute(statement, {"kind": kind, "id": id})


# To whom others report there is still to be asked for, and then nothing of it.
_STRIP = text(
    "UPDATE contacts SET affiliations = (SELECT coalesce(jsonb_agg("
    """a || '{"title": "", "department": "", "decision_role": ""}'"""
    "), '[]') FROM jsonb_array_elements(affiliations) AS a) WHERE id = :id"
)
_UNJOIN = text("UPDATE contacts SET affiliations = '[]' WHERE id = :id")


async def _contact_gone(tx: Transaction, row: Contact) -> None:
    """The contact, emptied, is deleted for good."""
    await tx.session.execute(_STRIP, {"id": row.id})
    contact = await tx.find(Contact, row.id)
    if contact is not None:
        await dismiss(tx, contact)
        await tx.session.flush()
    await tx.session.execute(_UNJOIN, {"id": row.id})
    await _forget_kept(tx, "contact", row.id)


async def _customer_gone(tx: Transaction, row: Customer) -> None:
    """The consumer, emptied, is deleted for good. Its orders stay with sales, its points in the ledger."""
    customer = await tx.find(Customer, row.id)
    if customer is not None:
        await trash_customer(tx, customer, kept=False)
        await tx.session.flush()
    await _forget_kept(tx, "customer", row.id)


PRIVACY = Privacy(
    Holding(
        Customer, about={"id": "customer", "merged_into_id": "customer"}, such={"kind": "PERSON"}, identity=True,
        names=("display_name",), phones=("phone", "other_phones.number"), emails=("email", "other_emails.address"),
        accounts=("accounts.account",),
        texts=(
            "website", "address", "other_addresses", "tax_number", "registration_number", "needs", "notes", "external_key",
            "return_reason",
        ),
        cleared=("tags", "phone_label", "email_label", "address_label"),
        reveals={"origin_lead_id": "lead", "merged_into_id": "customer"},
        notices={"LEGAL_HOLD": lambda row: bool(set(row.tags) & set(HELD))}, after=_customer_gone,
        beside=value_of, withheld=("margin", "costed_revenue"),
    ),
    Holding(
        Contact, about={"id": "contact", "merged_into_id": "contact"}, identity=True, names=("display_name",),
        phones=("phones.number",), emails=("emails.address",), accounts=("im_account", "other_accounts.account"),
        texts=("title", "department", "addresses", "birthday", "notes", "external_key"),
        cleared=("account_label",), swept=("affiliations",),
        reveals={"origin_lead_id": "lead", "merged_into_id": "contact"}, after=_contact_gone,
    ),
    *papers_of("customer", "contact"),
    Holding(Card, about={"customer_id": "customer"}, texts=("block_reason",), keeps="ACCOUNTING_DUTY"),
    Holding(
        CustomerRelation, about={"from_customer_id": "customer", "to_customer_id": "customer"}, texts=("notes",)
    ),
    Holding(Partner, about={"customer_id": "customer"}, texts=("notes",), keeps="BUSINESS_RECORD"),
    # Last, for there may be many, and nothing refers to them.
    Holding(Entry, about={"card_id": "card"}, texts=("reason",), keeps="ACCOUNTING_DUTY"),
    others={
        "segments": "names of segments, and rules", "saved_views": "names of lists",
        "competitors": "names of companies and things", "duplicate_rules": "what is done, by three words",
        "duplicate_pairs": "who is like whom; of a person's record nothing is left in it",
        "duplicate_sweeps": "what many have in common, which is forgotten with each erasure",
        "trash": "of a person's record nothing is left in it; of others the person is taken out",
    },
    left=("erasures",),  # there it is kept who is meant until all is done
)  # fmt: skip
