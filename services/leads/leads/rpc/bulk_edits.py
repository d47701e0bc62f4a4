"""Changing many leads at once."""

from typing import Any

from chassis.bulk_edits.edit import BulkEditProgressed
from chassis.bulk_edits.editor import Editor, Work
from chassis.bulk_edits.rpc import BulkEdits
from chassis.database import Transaction
from chassis.owners import Owner
from leads.assignment import watch_acceptance
from leads.custom_fields import CUSTOM_FIELDS
from leads.handling import hold
from leads.lead import Lead, assign_lead, change_lead, release_lead
from leads.rpc.leads import LEADS
from leads.rpc.lists import learn
from leads.rpc.messages import lead_values


async def _begin(tx: Transaction) -> Work:
    handling = await hold(tx)

    async def change(tx: Transaction, lead: Lead, values: dict[str, Any]) -> None:
        await change_lead(tx, lead, handling, values)

    async def assign(tx: Transaction, lead: Lead, owner: Owner) -> None:
        assign_lead(tx, lead, handling, owner)
        await watch_acceptance(tx, lead)

    async def release(tx: Transaction, lead: Lead) -> None:
        release_lead(tx, lead, handling)

    return Work(change, assign, release)


BULK_EDITS = BulkEdits(
    Editor(
        LEADS,
        Lead,
        "kehu.leads.v1.LeadService/UpdateLead",
        lead_values,
        begin=_begin,
        assigns=True,
        closed=frozenset({"external_key"}),
        derived=frozenset({
            "score", "score_points", "assign_time", "touch_time", "assignment_cause", "assignment_rule_id",
            "assignment_rule_name", "acceptance", "accept_until_time", "offered_to", "offer_count", "previous_owner_id",
            "pool_time",
        }),
        custom_fields=CUSTOM_FIELDS,
        progressed=BulkEditProgressed,
        learn=learn,
    )
)  # fmt: skip
