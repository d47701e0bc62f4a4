"""Sharing customers with people and teams, and telling it. What a share is, `chassis.shares` says."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.database import Transaction
from chassis.events.event import Event
from chassis.shares.entries import Grantee, share, unshare
from customers.customer import Customer, CustomerSnapshot, told

READ, WRITE = "READ", "WRITE"


@dataclass(frozen=True, kw_only=True)
class CustomerShared(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot
    with_person_id: UUID | None
    with_team_id: UUID | None
    access: str
    until_time: datetime | None


@dataclass(frozen=True, kw_only=True)
class CustomerUnshared(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot
    with_person_id: UUID | None
    with_team_id: UUID | None


def share_customer(
    tx: Transaction, customer: Customer, grantee: Grantee, access: str, until: datetime | None
) -> None:
    """Shares a customer, or changes how it is shared. Raises TooManyShares; Invalid for a time that is past."""
    writes = access == WRITE
    if share(customer, grantee, writes=writes, until=until, by=tx.who.person_id, at=tx.now):
        tx.record(
            CustomerShared(
                **told(customer), with_person_id=grantee.person_id, with_team_id=grantee.team_id,
                access=WRITE if writes else READ, until_time=until,
            ),
            on=customer,
        )  # fmt: skip


def unshare_customer(tx: Transaction, customer: Customer, grantee: Grantee) -> None:
    """Ends a share. Raises NotFound (SHARE_NOT_FOUND)."""
    unshare(customer, grantee, tx.now)
    tx.record(
        CustomerUnshared(
            **told(customer), with_person_id=grantee.person_id, with_team_id=grantee.team_id
        ),
        on=customer,
    )  # fmt: skip
