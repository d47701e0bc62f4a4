"""Many customers are given to another owner at once: which of them go, and why the others stay."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select, text
from sqlmodel import col

from chassis.database import Transaction
from chassis.errors import Precondition
from chassis.owners import Owner
from chassis.principal import Act, Principal
from chassis.visibility import Holder, covers
from customers.customer import Customer
from customers.ownership import assign_customers

MOST = 10_000
"""Customers that a filter may find."""
AT_ONCE = 100
"""Customers that are given in one transaction."""
MOST_TOLD = 1000


class TransferTooLarge(Precondition):
    reason = "TRANSFER_TOO_LARGE"

    def __init__(self) -> None:
        super().__init__(f"The filter finds more than {MOST} customers: narrow it.")


@dataclass(frozen=True, slots=True)
class Along:
    """What goes along with a customer, of what its former owner has with it."""

    activities: bool = False
    opportunities: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a customer stays."""

    customer_id: UUID
    display_name: str
    reason: str
    message: str


@dataclass
class Transferred:
    """What was done, or would be."""

    given: int = 0
    unchanged: int = 0
    contacts: int = 0
    refused: list[Refusal] = field(default_factory=list[Refusal])
    former: list[tuple[UUID, UUID]] = field(default_factory=list[tuple[UUID, UUID]])
    """Customers and their former owners."""

    def add(self, other: "Transferred") -> None:
        """Adds what was done with others."""
        self.given += other.given
        self.unchanged += other.unchanged
        self.contacts += other.contacts
        self.refused += other.refused
        self.former += other.former


_CONTACTS = text("SELECT count(*) FROM contacts WHERE customer_id = ANY(:ids) AND deleted_at IS NULL")


async def transfer(
    tx: Transaction, ids: Sequence[UUID], owner: Owner, along: Along, *, only_look: bool = False
) -> Transferred:
    """Gives those of the customers that the caller may give away to the owner. With `only_look`, says what that would do."""
    wanted = select(Customer).where(col(Customer.id).in_(ids), col(Customer.deleted_at).is_(None))
    # Always in one order, so that two who want the same do not wait for each other.
    wanted = wanted.order_by(col(Customer.id)).execution_options(populate_existing=True)
    found = await tx.session.execute(wanted if only_look else wanted.with_for_update())
    there = {row.id: row for row in found.scalars()}
    done, going = Transferred(), list[Customer]()
    for id in ids:
        row = there.get(id)
        refusal = _missing(id) if row is None else _refusal(row, tx.who, owner, along)
        if refusal is not None:
            done.refused.append(refusal)
        elif row is not None and row.owner_id == owner.person_id:
            done.unchanged += 1
        elif row is not None:
            going.append(row)
    done.given = len(going)
    done.former = [(row.id, row.owner_id) for row in going if row.owner_id is not None]
    if going:
        counted = await tx.session.execute(_CONTACTS, {"ids": [row.id for row in going]})
        done.contacts = counted.scalar_one()
        if not only_look:
            await assign_customers(
                tx, going, owner, activities=along.activities, opportunities=along.opportunities
            )
    return done


def _missing(id: UUID) -> Refusal:
    return Refusal(id, "", "CUSTOMER_NOT_FOUND", f"There is no customer {id}, or you may not see it.")


def _refusal(row: Customer, who: Principal, owner: Owner, along: Along) -> Refusal | None:
    if not covers(row, who, "customers", Act.READ):
        return _missing(row.id)
    reason = message = ""
    if not covers(row, who, "customers", Act.WRITE):
        reason, message = "RECORD_READ_ONLY", "You may see this customer but not change it."
    elif not covers(row, who, "customers", Act.WRITE, shares=False):
        reason, message = "SHARED_ONLY", "This customer is shared with you: you may not give it away."
    elif row.owner_id not in (None, owner.person_id) and not _takes_along(row, who, along):
        reason = "OPPORTUNITIES_OUT_OF_REACH"
        message = "Your rights do not reach the opportunities and activities that its owner has with it."
    return Refusal(row.id, row.display_name, reason, message) if reason else None


def _takes_along(row: Customer, who: Principal, along: Along) -> bool:
    if not (along.activities or along.opportunities):
        return True
    return covers(Holder(row.owner_id, row.team_id), who, "opportunities", Act.WRITE)


def busy(ids: Iterable[UUID]) -> Transferred:
    """What is said of customers that somebody else was changing all the time."""
    message = "Somebody else is changing this customer now: try again."
    return Transferred(refused=[Refusal(id, "", "RECORD_BUSY", message) for id in ids])
