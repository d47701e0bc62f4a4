"""What is done when somebody creates what is probably there already: by a tenant's rule it is created, or refused.

    if rule.customers == REFUSE:
        await hold_marks(tx, "customers", [name, *phones, *emails])       # two who create the same at once find each other
        refuse("customer", likely, hidden)

By WARN whoever creates it is told beside the answer, in the header `kehu-possible-duplicates`.

Only people are refused, and only until they say that they know: what services create was decided on elsewhere.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.database import Transaction
from chassis.errors import AlreadyExists, Violation

OFF, WARN, REFUSE = "OFF", "WARN", "REFUSE"
"""By WARN whoever creates one is told, and screens ask before; by OFF they are not, and do not."""
PROBABLE = 65
"""From which score on one is refused, unless the tenant says otherwise: the same number alone is enough."""
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Likely:
    """A record that is probably the same."""

    id: UUID
    name: str
    score: int


class ProbableDuplicates(AlreadyExists):
    """It is probably there already. Those that the caller may read are named, the others counted."""

    def __init__(self, resource: str, likely: Sequence[Likely], hidden: int) -> None:
        named = ", ".join(f"{one.name} ({one.score}%)" for one in likely)
        unseen = f"{hidden} that you may not see" if hidden else ""
        told = " and ".join(part for part in (named, unseen) if part)
        super().__init__(
            "PROBABLE_DUPLICATES",
            f"This {resource} is probably there already: {told}. Ask with ?allowDuplicate=true to create it all the same.",
        )
        self.violations = tuple(
            Violation(resource, f"{one.name} ({one.id}) is probably the same: {one.score}%") for one in likely
        )
        self.metadata = {"ids": ",".join(str(one.id) for one in likely), "hiddenCount": str(hidden)}


async def hold_marks(tx: Transaction, table: str, marks: Iterable[str]) -> None:
    """Lets whoever creates one with the same name, number or address wait until this transaction has ended."""
    for mark in sorted({mark for mark in marks if mark}):
        await tx.hold(f"{table} {mark}")


def beside(likely: Iterable[tuple[UUID, int, Sequence[str]]], hidden: int) -> str:
    """Records that are probably the same, by id, score and reasons, as a header says it: JSON in ASCII; empty when there are
    none, seen or not."""
    told = [{"id": str(id), "score": score, "reasons": list(reasons)} for id, score, reasons in likely]
    return json.dumps({"duplicates": told, "hiddenCount": hidden}) if told or hidden else ""


def refuse(resource: str, likely: Sequence[Likely], hidden: int) -> None:
    """Raises ProbableDuplicates when there are any, seen or not."""
    if likely or hidden:
        raise ProbableDuplicates(resource, likely[:MOST_NAMED], hidden)
