"""Who else bids for an opportunity, who of them got it, and what was won against them and lost to them.

Competitors are records of the customers service. An opportunity keeps the ids of those that bid, with their names at the same
places, so that lists need nobody else; a renamed competitor is shown by its new name, and one that was deleted stays named.
Figures are counted from the opportunities themselves, of which everybody sees those that they may read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.errors import Invalid
from sales.errors import competitor_not_found

MOST = 20
"""Competitors of one opportunity, as the contract has it."""
_LOSER = "opportunity.lostToCompetitorId"


def name_competitors(values: dict[str, Any], present: Mapping[UUID, str], known: Mapping[UUID, str]) -> None:
    """Puts the names beside `competitor_ids`, where these are to be changed, each of them once.

    `present` are those that the opportunity names already, `known` those that the caller may read. Raises Invalid
    (COMPETITOR_NOT_FOUND) for any other.
    """
    if "competitor_ids" not in values:
        return
    names = {**known, **present}
    ids: list[UUID] = list(dict.fromkeys(values["competitor_ids"]))
    for id in ids:
        if id not in names:
            raise competitor_not_found("opportunity.competitorIds", id)
    values["competitor_ids"], values["competitor_names"] = ids, [names[id] for id in ids]


def check_lost_to(lost_to: UUID | None, competitor_ids: Iterable[UUID], *, lost: bool) -> None:
    """Raises Invalid (OPPORTUNITY_NOT_LOST, COMPETITOR_NOT_NAMED) when an opportunity cannot be lost to that competitor."""
    if lost_to is None:
        return
    if not lost:
        raise Invalid(_LOSER, "is said of lost opportunities only", reason="OPPORTUNITY_NOT_LOST")
    if lost_to not in competitor_ids:
        raise Invalid(_LOSER, "is none of competitorIds", reason="COMPETITOR_NOT_NAMED")


# Rows are locked in one order, whoever comes first.
_RENAME = text(
    "UPDATE opportunities SET competitor_names[array_position(competitor_ids, CAST(:id AS uuid))] = :name"
    " WHERE id IN (SELECT id FROM opportunities WHERE competitor_ids @> ARRAY[CAST(:id AS uuid)] ORDER BY id FOR UPDATE)"
)


async def rename_competitor(tx: Transaction, id: UUID, name: str) -> None:
    """Shows that name. It is no change of the opportunities: neither their version nor their history says anything of it."""
    await tx.session.execute(_RENAME, {"id": id, "name": name})


WIN_LOSS = (
    "SELECT c.id, max(c.name) AS name, t.amount_currency AS currency, count(*) FILTER (WHERE t.status = 'OPEN') AS open_count,"
    " count(*) FILTER (WHERE t.status = 'WON' AND {within}) AS won_count,"
    " count(*) FILTER (WHERE t.status = 'LOST' AND {within}) AS lost_count,"
    " count(*) FILTER (WHERE t.lost_to_competitor_id = c.id AND {within}) AS lost_to_count,"
    " sum(t.amount) FILTER (WHERE t.status = 'OPEN') AS open,"
    " sum(t.amount) FILTER (WHERE t.status = 'WON' AND {within}) AS won,"
    " sum(t.amount) FILTER (WHERE t.status = 'LOST' AND {within}) AS lost,"
    " sum(t.amount) FILTER (WHERE t.lost_to_competitor_id = c.id AND {within}) AS lost_to"
    " FROM opportunities t CROSS JOIN LATERAL unnest(t.competitor_ids, t.competitor_names) AS c(id, name)"
    " WHERE t.deleted_at IS NULL AND t.competitor_ids <> '{}' AND {of} AND {rule}"
    " GROUP BY c.id, t.amount_currency ORDER BY c.id, t.amount_currency"
).replace("{within}", "t.close_date BETWEEN coalesce($1, DATE '-infinity') AND coalesce($2, DATE 'infinity')")
"""Counts and sums by competitor and currency; $1 and $2 are the first and the last day, NULL is open. `{of}` says of which
competitors, `{rule}` is the rule of visibility."""


@dataclass
class WinLoss:
    """What was won against a competitor and lost to it. `amounts` has minor units by currency and by what became of them."""

    id: UUID
    name: str
    open_count: int = 0
    won_count: int = 0
    lost_count: int = 0
    lost_to_count: int = 0
    amounts: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])

    @property
    def decided(self) -> int:
        """How many went to it or to us."""
        return self.won_count + self.lost_to_count

    @property
    def win_rate(self) -> Decimal | None:
        """Of those that went to it or to us, how many were won, in percent; None when there are none. What was lost to another
        competitor, or to nobody, says nothing of this one."""
        return Decimal(100 * self.won_count) / self.decided if self.decided else None


_COUNTS = ("open_count", "won_count", "lost_count", "lost_to_count")
_SUMS = ("open", "won", "lost", "lost_to")


def win_loss(rows: Sequence[Any]) -> list[WinLoss]:
    """What the rows of WIN_LOSS say, by competitor: those first against which most was decided."""
    found: dict[UUID, WinLoss] = {}
    for row in rows:
        one = found.setdefault(row["id"], WinLoss(row["id"], row["name"]))
        for name in _COUNTS:
            setattr(one, name, getattr(one, name) + row[name])
        if row["currency"]:
            one.amounts[row["currency"]] = {name: int(row[name] or 0) for name in _SUMS}
    return sorted(found.values(), key=lambda one: (-one.decided, -one.lost_count, one.name, one.id))


def check_period(first: date | None, last: date | None) -> None:
    """Raises Invalid (PERIOD_INVALID) when the days are turned around."""
    if first is not None and last is not None and last < first:
        raise Invalid("lastDay", "is before firstDay", reason="PERIOD_INVALID")
