"""What a merge brings along, counted from what it has kept."""

from collections.abc import Mapping
from typing import Any

from chassis.database import Transaction
from chassis.following import moved_custom
from chassis.merge_preview import papers_in
from customers.merging.merge import Merge
from customers.value.facts import FACTS

_ROWS = ("customer", "contact", "relation", "card", "partner", "competitor")


async def brought_along(tx: Transaction, merge: Merge) -> dict[str, int]:
    """How many records there are of each kind that have come to the survivor or were changed for it, without those merged."""
    kept: Mapping[str, Any] = merge.kept
    merged = {str(merge.survivor_id), *map(str, merge.merged_ids)}
    counts = {kind: len(kept.get(kind, {}).keys() - merged) for kind in _ROWS}
    # Of an opportunity there is a row for each month, of a segment one for each customer.
    counts |= {
        kind.removesuffix("_fact"): len({key.partition(" ")[0] for key in kept.get(kind, {})})
        for kind in FACTS
    }
    counts["segment"] = len({key.partition(" ")[0] for key in kept.get("segment_member", {})})
    return {**counts, **papers_in(kept), "reference": await moved_custom(tx, merge.id)}
