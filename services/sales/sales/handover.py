"""Open work follows a customer that was given to another owner, where whoever gave it wanted that.

It is the open opportunities and planned activities of the former owner that follow; what others do for the customer stays
theirs. The events of one customer may come twice, or a late one behind a newer: what is kept of each lets a late one go on to
where the newer ones have led since.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlmodel import col

from chassis.database import Transaction
from chassis.owners import Owner
from sales.activity import PLANNED, Activity, assign_activity
from sales.opportunity import OPEN, Opportunity, assign_opportunity


@dataclass(frozen=True, kw_only=True)
class Handover:
    """A customer that was given to another owner. `version` is the customer's."""

    customer_id: UUID
    version: int
    former_owner_id: UUID
    owner: Owner
    activities: bool
    opportunities: bool


_KEEP = text(
    "INSERT INTO handovers (tenant_id, customer_id, version, former_owner_id, owner_id, team_id, activities, opportunities)"
    " VALUES (:tenant, :customer, :version, :former, :owner, :team, :activities, :opportunities) ON CONFLICT DO NOTHING"
)
_LATER = text(
    "SELECT former_owner_id, owner_id, team_id, activities, opportunities FROM handovers"
    " WHERE customer_id = :customer AND version > :version ORDER BY version"
)


async def hand_over(tx: Transaction, it: Handover) -> None:
    """Gives the former owner's open work with the customer to the new owner."""
    kept = {
        "tenant": tx.who.tenant_id, "customer": it.customer_id, "version": it.version, "former": it.former_owner_id,
        "owner": it.owner.person_id, "team": it.owner.team_id, "activities": it.activities,
        "opportunities": it.opportunities,
    }  # fmt: skip
    await tx.session.execute(_KEEP, kept)
    later = (await tx.session.execute(_LATER, {"customer": it.customer_id, "version": it.version})).all()
    if it.opportunities:
        to = _last(it.owner, [row for row in later if row.opportunities])
        for opportunity in await _of(tx, Opportunity, it, OPEN):
            assign_opportunity(tx, opportunity, to)
    if it.activities:
        to = _last(it.owner, [row for row in later if row.activities])
        for activity in await _of(tx, Activity, it, PLANNED):
            assign_activity(tx, activity, to)


def _last(owner: Owner, later: Iterable[Any]) -> Owner:
    """With whom it is by now."""
    for row in later:
        if UUID(str(row.former_owner_id)) == owner.person_id:
            owner = Owner(UUID(str(row.owner_id)), UUID(str(row.team_id)) if row.team_id else None)
    return owner


async def _of(tx: Transaction, table: type[Any], it: Handover, status: str) -> list[Any]:
    found = await tx.session.execute(
        select(table)
        .where(
            col(table.customer_id) == it.customer_id,
            col(table.owner_id) == it.former_owner_id,
            col(table.status) == status,
            col(table.deleted_at).is_(None),
        )
        .order_by(col(table.id))
        .with_for_update()
    )
    return list(found.scalars())
