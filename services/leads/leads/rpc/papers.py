"""Notes and files on leads."""

from uuid import UUID

from chassis.database import Transaction
from chassis.subjects import Subject, Subjects
from leads.lead import Lead
from leads.rpc.leads import LEADS


async def _open_lead(tx: Transaction, id: UUID) -> Lead:
    """What is on a lead goes with it when it is converted, attached or merged; behind that nothing is added.

    Raises LeadConverting, LeadConverted, LeadGoneElsewhere.
    """
    lead = await tx.get(Lead, id, right="leads")
    lead.check_editable()
    lead.check_itself()
    return lead


SUBJECTS = Subjects(Subject(LEADS, writable=_open_lead))
