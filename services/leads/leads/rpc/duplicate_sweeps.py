"""Looking through all leads for those that are kept twice."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from kehu.duplicates.v1 import duplicates_pb2 as pb

from chassis.database import Database, Transaction
from chassis.duplicates.cards import card
from chassis.duplicates.pair import DuplicatePairMerged
from chassis.duplicates.rpc import DuplicateSweeps
from chassis.duplicates.sweep import DuplicateSweepProgressed
from chassis.duplicates.swept import Swept
from chassis.principal import Principal
from leads.cleaning import LEAST_SCORE, keys, likeness
from leads.lead import Lead
from leads.rpc.leads import LEADS
from leads.words import OPEN

_COMPARED = ("name", "company_name", "phone", "email", "status")


def _compared_by(read: Callable[[str], Any]) -> Any:
    return SimpleNamespace(**{name: read(name) for name in _COMPARED})


def _compare(one: Any, other: Any) -> tuple[int, Sequence[str]]:
    """Of two on whom nobody works any more nothing is left to be done."""
    return likeness(one, other) if {one.status, other.status} & {*OPEN} else (0, ())


async def _lead(tx: Transaction, id: UUID) -> Any:
    lead = await tx.get(Lead, id, right="leads")
    if lead.duplicate_of_lead_id is not None:
        raise DuplicatePairMerged("One of the two went into another lead: undo the merge first.")
    return lead


async def _cards(database: Database, who: Principal, rows: Sequence[Any]) -> list[pb.DuplicateRecord]:
    return [
        card(
            row, row["name"] or row["company_name"], detail=row["company_name"], phone=row["phone"], email=row["email"]
        )
        for row in rows
    ]  # fmt: skip


# Who is disqualified is nobody's work any more, those that went into another among them.
DUPLICATES = DuplicateSweeps(
    Swept(
        LEADS, _compared_by, keys, _compare, writable=_lead, cards=_cards, such="t.status <> 'DISQUALIFIED'",
        least=LEAST_SCORE, progressed=DuplicateSweepProgressed,
    )
)  # fmt: skip
