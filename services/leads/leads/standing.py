"""Taking back that leads were closed, or opened again: they stand as they stood, unless somebody has taken them in hand since.

`changes` are columns with what they were and what they have become, as JSON holds them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.database import Transaction
from chassis.kept import put_back
from leads import errors
from leads.assignment import watch_acceptance
from leads.cadence import Cadence
from leads.handling import Handling
from leads.lead import Lead, remind
from leads.lead_events import LeadDisqualified, LeadReopened, tell

Changes = Mapping[str, Sequence[Any]]
CLOSED = ("status", "disqualify_time", "disqualify_reason")
"""What a lead that was closed is known by: nobody works on it."""
OPENED = (
    *CLOSED, "owner_id", "acceptance", "cadence_id", "cadence_step", "contact_count", "last_contact_time", "next_contact_time",
)  # fmt: skip
"""What a lead that was opened again holds until somebody takes it in hand."""
OFFERED = ("offered_to",)
"""What goes back with these, though histories are silent about it."""
_COUNTED = frozenset({"score", "score_points"})
_ELSEWHERE = ("duplicate_of_lead_id", "duplicate_of_customer_id", "duplicate_of_contact_id")


async def open_as_before(tx: Transaction, lead: Lead, handling: Handling, changes: Changes) -> None:
    """Takes back that a lead was closed: with the step that was proposed, if its cadence is still there, and with the offer that
    nobody had accepted. Raises LeadConverting."""
    _put_back(lead, changes)
    lead.offer_count = len(lead.offered_to)
    if lead.cadence_id is not None:
        cadence = await tx.find(Cadence, lead.cadence_id, lock=False)
        if cadence is None or not cadence.active:
            lead.end_cadence()
    lead.touch(tx.now)
    await remind(tx, lead)
    await watch_acceptance(tx, lead)
    tell(tx, lead, handling, LeadReopened)


def close_as_before(tx: Transaction, lead: Lead, handling: Handling, changes: Changes) -> None:
    """Takes back that a lead was opened again. One that went into another, or was known to be a customer, stays open: whoever
    closes it says anew where it went, and may change what it goes into. Raises LeadConverting, LeadWentElsewhere."""
    if any(changes[name][0] for name in _ELSEWHERE if name in changes):
        raise errors.LeadWentElsewhere
    _put_back(lead, changes)
    lead.rest()
    tell(tx, lead, handling, LeadDisqualified)


def _put_back(lead: Lead, changes: Changes) -> None:
    lead.check_not_converting()
    put_back(lead, {name: list(pair) for name, pair in changes.items() if name not in _COUNTED})
