"""What leads hold about a person: the leads that they are, and what a conversion was to make of them."""

from chassis.database import Transaction
from chassis.duplicates.pair import pairs_erased
from chassis.privacy.holding import Holding
from chassis.privacy.papers import papers_of
from chassis.privacy.privacy import Privacy
from leads.cadence import LeadTouch
from leads.captures import LeadCapture
from leads.conversion import Conversion
from leads.lead import Lead
from leads.lead_events import LeadDeleted, told
from leads.words import OPEN


async def _no_longer_worked_on(tx: Transaction, row: Lead) -> None:
    """An open lead without its person is of no use. One that has ended is counted in reports, and stays. What it was
    like is no longer told either."""
    await pairs_erased(tx, Lead.record_type, row.id)
    lead = await tx.find(Lead, row.id)
    if lead is not None and lead.status in OPEN:
        tx.delete(lead)
        tx.record(LeadDeleted(**told(lead)), on=lead)
        await tx.session.flush()


PRIVACY = Privacy(
    Holding(
        Lead, about={"id": "lead", "contact_id": "contact", "customer_id": "customer"}, identity=True,
        names=("name",), phones=("phone",), emails=("email",), accounts=("im_account",),
        texts=(
            "title", "department", "address", "website", "notes", "external_key", "disqualify_note", "source_detail",
            "return_reason",
        ),
        cleared=("tags", "utm"), swept=("company_name", "assignment_rule_name", "disqualify_reason"),
        reveals={"contact_id": "contact", "customer_id": "customer"}, keeps="STATISTICS", after=_no_longer_worked_on,
    ),
    *papers_of("lead"),
    Holding(
        LeadCapture, about={"lead_id": "lead"}, texts=("source_detail", "message", "answers", "click_id"),
        swept=("referrer", "landing_page"), cleared=("utm",), keeps="STATISTICS",
    ),
    Holding(
        Conversion, about={"lead_id": "lead"}, texts=("failure_message",), swept=("plan", "failure_reason"),
        keeps="BUSINESS_RECORD",
    ),
    Holding(LeadTouch, about={"lead_id": "lead"}, texts=("note",), keeps="STATISTICS"),
    others={
        "assignment_rules": "names of rules", "cadences": "names of cadences", "score_rules": "names of rules",
        "absences": "of our own people", "saved_views": "names of lists", "mail_captures": "mailboxes of our own",
        "captured_mails": "by what a mail is known again",
        "duplicate_pairs": "which leads are like which; of a person's record nothing is left in it",
        "duplicate_sweeps": "what many have in common, which is forgotten with each erasure",
    },
)  # fmt: skip
