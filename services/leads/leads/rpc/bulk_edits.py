"""Changing many leads at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from kehu.leads.v1 import lead_pb2

from chassis.bulk_edits.edit import BulkEditProgressed
from chassis.bulk_edits.editor import Action, Deed, Editor, Work
from chassis.bulk_edits.rpc import BulkEdits
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.owners import Owner
from leads.assignment import watch_acceptance
from leads.cadence import stand_as_before
from leads.custom_fields import CUSTOM_FIELDS
from leads.handling import hold
from leads.lead import Lead, assign_lead, change_lead, release_lead
from leads.lead_events import LeadDisqualified, LeadReopened, tell
from leads.rpc.leads import LEADS
from leads.rpc.lists import learn
from leads.rpc.messages import lead_values

Changes = Mapping[str, Sequence[Any]]


async def _begin(tx: Transaction) -> Work:
    handling = await hold(tx)

    async def change(tx: Transaction, lead: Lead, values: dict[str, Any]) -> None:
        await change_lead(tx, lead, handling, values)

    async def assign(tx: Transaction, lead: Lead, owner: Owner) -> None:
        assign_lead(tx, lead, handling, owner)
        await watch_acceptance(tx, lead)

    async def release(tx: Transaction, lead: Lead) -> None:
        release_lead(tx, lead, handling)

    async def disqualify(tx: Transaction, lead: Lead, reason: str, note: str) -> None:
        lead.disqualify(tx.now, reason.removeprefix(_PREFIX), note)
        tell(tx, lead, handling, LeadDisqualified)

    async def reopen(tx: Transaction, lead: Lead, reason: str, note: str) -> None:
        lead.reopen(note)
        lead.touch(tx.now)
        tell(tx, lead, handling, LeadReopened)

    async def reopened(tx: Transaction, lead: Lead, changes: Changes) -> None:
        await stand_as_before(tx, lead, _own(changes))
        lead.touch(tx.now)
        tell(tx, lead, handling, LeadReopened)

    async def closed(tx: Transaction, lead: Lead, changes: Changes) -> None:
        await stand_as_before(tx, lead, _own(changes))
        tell(tx, lead, handling, LeadDisqualified)

    return Work(
        change, assign, release, {"disqualify": Deed(disqualify, reopened), "reopen": Deed(reopen, closed)}
    )


_PREFIX = "DISQUALIFY_REASON_"
_REASONS = frozenset(lead_pb2.DisqualifyReason.keys()) - {_PREFIX + "UNSPECIFIED"}
_DERIVED = frozenset({
    "score", "score_points", "assign_time", "touch_time", "assignment_cause", "assignment_rule_id", "assignment_rule_name",
    "acceptance", "accept_until_time", "offered_to", "offer_count", "previous_owner_id", "pool_time",
})  # fmt: skip
_STANDING = ("status", "disqualify_time", "disqualify_reason")


def _own(changes: Changes) -> Changes:
    return {name: pair for name, pair in changes.items() if name not in _DERIVED}


def _why(reason: str, note: str) -> None:
    """As DisqualifyLead takes them."""
    if reason not in _REASONS:
        raise Invalid("change.reason", f"is needed: one of {', '.join(sorted(_REASONS))}")
    if reason == _PREFIX + "OTHER" and not note:
        raise Invalid("change.note", "is needed when the reason is another one")


def _only_note(reason: str, note: str) -> None:
    """As ReopenLead takes it."""
    if reason:
        raise Invalid("change.reason", "goes only with disqualifying")


BULK_EDITS = BulkEdits(
    Editor(
        LEADS,
        Lead,
        "kehu.leads.v1.LeadService/UpdateLead",
        lead_values,
        begin=_begin,
        assigns=True,
        actions={
            "disqualify": Action(_why, left=_STANDING), "reopen": Action(_only_note, left=_STANDING),
        },
        closed=frozenset({"external_key"}),
        derived=_DERIVED,
        custom_fields=CUSTOM_FIELDS,
        progressed=BulkEditProgressed,
        learn=learn,
    )
)  # fmt: skip
