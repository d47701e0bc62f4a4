"""Looking through all customers or contacts for those that are kept twice."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from kehu.duplicates.v1 import duplicates_pb2 as pb

from chassis.database import Database, Transaction
from chassis.duplicates.cards import card
from chassis.duplicates.rpc import DuplicateSweeps
from chassis.duplicates.sweep import DuplicateSweepProgressed
from chassis.duplicates.swept import Swept
from chassis.principal import Principal
from customers.affiliation import writable_contact
from customers.customer import Customer
from customers.duplicates import LEAST_SCORE, Traits, contact_traits, customer_traits, keys, namesakes, scored
from customers.rpc.contacts import CONTACTS, seen_customers
from customers.rpc.customers import CUSTOMERS


def _compare(one: Traits, other: Traits) -> tuple[int, Sequence[str]]:
    score, found = scored(one, other)
    return score, [reason.kind for reason in found]


async def _customer(tx: Transaction, id: UUID) -> Any:
    return await tx.get(Customer, id, right="customers", shares=False)


async def _contact(tx: Transaction, id: UUID) -> Any:
    return await writable_contact(tx, id, shares=False)


async def _customer_cards(
    database: Database, who: Principal, rows: Sequence[Any]
) -> list[pb.DuplicateRecord]:
    return [card(row, row["display_name"], phone=row["phone"], email=row["email"]) for row in rows]


async def _contact_cards(database: Database, who: Principal, rows: Sequence[Any]) -> list[pb.DuplicateRecord]:
    names = await seen_customers(database, who, rows)
    return [
        card(
            row, row["display_name"], detail=names.get(row["customer_id"], ""),
            phone=next((one["number"] for one in row["phones"]), ""),
            email=next((one["address"] for one in row["emails"]), ""),
        )
        for row in rows
    ]  # fmt: skip


DUPLICATES = DuplicateSweeps(
    Swept(
        CUSTOMERS, customer_traits, keys, _compare,
        writable=_customer, cards=_customer_cards, least=LEAST_SCORE, progressed=DuplicateSweepProgressed,
    ),
    Swept(
        CONTACTS, contact_traits, keys, _compare,
        writable=_contact, cards=_contact_cards, namesakes=namesakes, least=LEAST_SCORE,
        progressed=DuplicateSweepProgressed,
    ),
)  # fmt: skip
