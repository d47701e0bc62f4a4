"""Changing many leads at once."""

from typing import Any

from kehu.leads.v1 import lead_pb2

from chassis.bulk_edits.edit import BulkEditProgressed
from chassis.bulk_edits.editor import Action, Deed, Editor, Work
from chassis.bulk_edits.rpc import BulkEdits
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.owners import Owner
from leads.assignment import watch_acceptance
from leads.custom_fields import CUSTOM_FIELDS
from leads.handling import hold
from leads.lead import (
    REASON,
    Lead,
    assign_lead,
    change_lead,
    check_reason,
    disqualify_lead,
    release_lead,
    reopen_lead,
)
from leads.rpc.leads import LEADS
from leads.rpc.lists import learn
from leads.rpc.messages import lead_values
from leads.standing import CLOSED, OFFERED, OPENED, Changes, close_as_before, open_as_before


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
        disqualify_lead(tx, lead, handling, reason, note)

    async def reopen(tx: Transaction, lead: Lead, reason: str, note: str) -> None:
        reopen_lead(tx, lead, handling, note)

    async def reopened(tx: Transaction, lead: Lead, changes: Changes) -> None:
        await open_as_before(tx, lead, handling, changes)

    async def closed(tx: Transaction, lead: Lead, changes: Changes) -> None:
        close_as_before(tx, lead, handling, changes)

    return Work(
        change, assign, release, {"disqualify": Deed(disqualify, reopened), "reopen": Deed(reopen, closed)}
    )


_REASONS = frozenset(lead_pb2.DisqualifyReason.keys()) - {REASON + "UNSPECIFIED"}
_DERIVED = frozenset({
    "score", "score_points", "assign_time", "touch_time", "assignment_cause", "assignment_rule_id", "assignment_rule_name",
    "acceptance", "accept_until_time", "offered_to", "offer_count", "previous_owner_id", "pool_time",
})  # fmt: skip


def _why(reason: str, note: str) -> None:
    """As DisqualifyLead takes them."""
    if reason not in _REASONS:
        raise Invalid("change.reason", f"is needed: one of {', '.join(sorted(_REASONS))}")
    check_reason(reason.removeprefix(REASON), note, "change.note")


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
            "disqualify": Action(_why, left=CLOSED, noted=OFFERED), "reopen": Action(_only_note, left=OPENED),
        },
        closed=frozenset({"external_key"}),
        derived=_DERIVED,
        custom_fields=CUSTOM_FIELDS,
        progressed=BulkEditProgressed,
        learn=learn,
    )
)  # fmt: skip
