"""Leads that are not there yet, compared with those that are: before one is created, and where the tenant's rule refuses it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from chassis.company_names import core_name
from chassis.database import Transaction
from chassis.ids import new_id
from chassis.probable import REFUSE, Likely, hold_marks, refuse
from leads.cleaning import Columns, leads_like
from leads.handling import settings_of

_COMPARED = ("name", "company_name", "phone", "email")


def draft(tidy: Mapping[str, Any], now: Any, id: UUID | None = None) -> Columns:
    """A lead that is to be created, with its columns as they would be kept."""
    row = {**{name: tidy.get(name, "") for name in _COMPARED}, "id": id or new_id(), "created_at": now}
    return Columns(row)


async def check_new(tx: Transaction, tidy: Mapping[str, Any], id: UUID | None) -> None:
    """Raises ProbableDuplicates for a lead that the tenant's rule refuses; `tidy` are its columns as they would be kept. One
    that is there under the `id` it asks for is itself, asked for once more."""
    settings = await settings_of(tx)
    if settings.duplicates != REFUSE:
        return
    lead = draft(tidy, tx.now, id)
    await hold_marks(tx, "leads", [core_name(lead.company_name) or lead.name, lead.phone, lead.email])
    twins, hidden = await leads_like(tx.database, tx.who, lead, settings.duplicates_min_score)
    refuse("lead", [Likely(twin.id, twin.name, twin.score) for twin in twins], hidden)
