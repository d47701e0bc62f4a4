"""Who owns customers: they are given to another, and what is kept of them with their owner and team follows."""

from collections.abc import Sequence

from sqlalchemy import text

from chassis.database import Transaction
from chassis.owners import Owner
from customers.customer import Customer, CustomerAssigned, told

_FOLLOW = tuple(
    text(f"UPDATE {table} SET owner_id = :owner, team_id = :team WHERE customer_id = ANY(:ids)")  # noqa: S608 (constants)
    for table in ("contacts", "contact_affiliations", "membership_cards", "partners")
)


async def belong(tx: Transaction, customers: Sequence[Customer], owner: Owner | None) -> None:
    """Makes customers, their contacts, their cards and what they are as partners the owner's, or nobody's."""
    person, team = (owner.person_id, owner.team_id) if owner else (None, None)
    for customer in customers:
        customer.previous_owner_id = customer.owner_id if owner is None else None
        customer.pool_time = tx.now if owner is None else None
        customer.return_time, customer.return_reason = None, ""
        customer.owner_id, customer.team_id = person, team
        customer.assign_time = tx.now
    values = {"owner": person, "team": team, "ids": [customer.id for customer in customers]}
    for statement in _FOLLOW:
        await tx.session.execute(statement, values)


async def assign_customers(
    tx: Transaction,
    customers: Sequence[Customer],
    owner: Owner,
    *,
    activities: bool = False,
    opportunities: bool = False,
) -> None:
    """Gives customers to an owner, on request with the open work that their former owners have with them; those who have them
    already keep them."""
    given = [(one, one.owner_id) for one in customers if one.owner_id != owner.person_id]
    if not given:
        return
    await belong(tx, [one for one, _ in given], owner)
    for one, previous in given:
        tx.record(
            CustomerAssigned(
                **told(one), previous_owner_id=previous, with_activities=activities, with_opportunities=opportunities
            ),
            on=one,
        )  # fmt: skip
