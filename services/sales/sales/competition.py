"""Who else bids for an opportunity, who of them got it, and what was won against them and lost to them.

Competitors are records of the customers service. An opportunity keeps the ids of those that bid; their names stand once for each
competitor, whoever names it, so that lists need nobody else and a new name is one row. One that was deleted stays named.
`opportunity_competitors` is the index of the ids, which the database keeps true to the opportunities. Figures are counted from
the opportunities themselves, of which everybody sees those that they may read.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.fields import Link
from chassis.percent import percent
from sales.errors import competitor_not_found

MOST = 20
"""Competitors of one opportunity, as the contract has it."""
MOST_TOLD = 200
"""Competitors of a report."""
LINK = Link("opportunity_competitors", "opportunity_id", "competitor_id")
_LOSER = "opportunity.lostToCompetitorId"


@dataclass(frozen=True, slots=True)
class Competitor:
    """A competitor by its name. Of two names the one of the higher version is newer."""

    id: UUID
    name: str
    version: int


Known = Mapping[UUID, Competitor]
"""Competitors that the caller may read, as customers has just told them."""

# Whoever names the same competitors waits for nobody, unless there is a new name to keep.
_KEEP = text(
    "INSERT INTO competitor_names AS n (tenant_id, id, version, name) SELECT :tenant, t.id, t.version, t.name"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS bigint[]), CAST(:names AS text[])) AS t(id, version, name)"
    " WHERE NOT EXISTS (SELECT FROM competitor_names k WHERE k.id = t.id AND k.version >= t.version) ORDER BY t.id"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET version = excluded.version, name = excluded.name"
    " WHERE excluded.version > n.version"
)


async def keep_names(tx: Transaction, competitors: Sequence[Competitor]) -> None:
    """Keeps these names unless newer ones are kept. It is no change of the opportunities: neither their version nor their history
    says anything of it."""
    if competitors:
        told = {
            "tenant": tx.who.tenant_id, "ids": [one.id for one in competitors],
            "versions": [one.version for one in competitors], "names": [one.name for one in competitors],
        }  # fmt: skip
        await tx.session.execute(_KEEP, told)


NAMES = "SELECT n.id, n.name FROM competitor_names n WHERE n.id = ANY($1::uuid[])"
"""Names for a caller who reads; $1 are the ids."""
_NAMES = text("SELECT n.id, n.name FROM competitor_names n WHERE n.id = ANY(:ids)")


async def names_of(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Their names; without those that were never heard of."""
    if not ids:
        return {}
    return {row.id: row.name for row in await tx.session.execute(_NAMES, {"ids": list(ids)})}


async def check_named(
    tx: Transaction, ids: Sequence[UUID], present: Collection[UUID], known: Known, field: str
) -> None:
    """Raises Invalid (COMPETITOR_NOT_FOUND) for a competitor that the opportunity does not name already, being one of `present`,
    and that the caller may not read. Of the others the names are kept."""
    for id in ids:
        if id not in known and id not in present:
            raise competitor_not_found(field, id)
    await keep_names(tx, [known[id] for id in ids if id in known])


async def name_competitors(
    tx: Transaction, values: dict[str, Any], present: Collection[UUID], known: Known
) -> None:
    """Each of `competitor_ids` once, where these are to be changed. Raises Invalid (COMPETITOR_NOT_FOUND)."""
    if "competitor_ids" in values:
        ids: list[UUID] = list(dict.fromkeys(values["competitor_ids"]))
        await check_named(tx, ids, present, known, "opportunity.competitorIds")
        values["competitor_ids"] = ids


def with_winner(ids: Sequence[UUID], winner: UUID) -> list[UUID]:
    """Those that bid, and among them the one that got it. Raises Invalid when that is one too many."""
    if winner in ids:
        return list(ids)
    if len(ids) >= MOST:
        raise Invalid("competitorId", f"would be one more than the {MOST} that an opportunity can name")
    return [*ids, winner]


def check_lost_to(lost_to: UUID | None, competitor_ids: Collection[UUID], *, lost: bool) -> None:
    """Raises Invalid (OPPORTUNITY_NOT_LOST, COMPETITOR_NOT_NAMED) when an opportunity cannot be lost to that competitor."""
    if lost_to is None:
        return
    if not lost:
        raise Invalid(_LOSER, "is said of lost opportunities only", reason="OPPORTUNITY_NOT_LOST")
    if lost_to not in competitor_ids:
        raise Invalid(_LOSER, "is none of competitorIds", reason="COMPETITOR_NOT_NAMED")


_COUNTED = (
    "SELECT c.competitor_id AS id, t.amount_currency AS currency, count(*) FILTER (WHERE t.status = 'OPEN') AS open_count,"
    " count(*) FILTER (WHERE t.status = 'WON') AS won_count, count(*) FILTER (WHERE t.status = 'LOST') AS lost_count,"
    " count(*) FILTER (WHERE {got_it}) AS lost_to_count, sum(t.amount) FILTER (WHERE t.status = 'OPEN') AS open,"
    " sum(t.amount) FILTER (WHERE t.status = 'WON') AS won, sum(t.amount) FILTER (WHERE t.status = 'LOST') AS lost,"
    " sum(t.amount) FILTER (WHERE {got_it}) AS lost_to FROM {rows} WHERE {of} AND t.deleted_at IS NULL"
    " AND (t.status = 'OPEN' OR (t.status IN ('WON', 'LOST') AND t.close_date >= coalesce($1, DATE '-infinity')"
    " AND t.close_date <= coalesce($2, DATE 'infinity'))) AND {rule} GROUP BY c.competitor_id, t.amount_currency"
).replace("{got_it}", "t.status = 'LOST' AND t.lost_to_competitor_id = c.competitor_id")
_NAMED = "LEFT JOIN competitor_names n ON n.id = c.id ORDER BY c.id, c.currency"

_OF_ONE = _COUNTED.replace(
    "{rows}", "opportunity_competitors c JOIN opportunities t ON t.id = c.opportunity_id"
).replace("{of}", "c.competitor_id = $3")
_OF_ALL = _COUNTED.replace(
    "{rows}", "opportunities t CROSS JOIN LATERAL unnest(t.competitor_ids) AS c(competitor_id)"
).replace("{of}", "t.competitor_ids <> '{}'")
WIN_LOSS_OF_ONE = f"WITH counted AS ({_OF_ONE}) SELECT c.*, n.name FROM counted c {_NAMED}"  # noqa: S608 (constants of this file)
"""Counts and sums of one competitor, $3, by currency; $1 and $2 are the first and the last day, NULL is open. `{rule}` is the
rule of visibility."""
WIN_LOSS = (
    f"WITH counted AS ({_OF_ALL}), most AS (SELECT id FROM counted GROUP BY id"  # noqa: S608 (constants of this file)
    f" ORDER BY sum(won_count + lost_to_count) DESC, sum(lost_count) DESC, id LIMIT {MOST_TOLD})"
    f" SELECT c.*, n.name FROM counted c JOIN most USING (id) {_NAMED}"
)
"""The same of those of all competitors against which most was decided."""
NAME_OF_ONE = (
    "SELECT n.name FROM competitor_names n WHERE n.id = $1 AND EXISTS (SELECT FROM opportunity_competitors c"
    " JOIN opportunities t ON t.id = c.opportunity_id WHERE c.competitor_id = $1 AND t.deleted_at IS NULL AND {rule})"
)
"""How a competitor is called, for whoever may read an opportunity that names it."""


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
        return percent(self.won_count, self.decided) if self.decided else None


_COUNTS = ("open_count", "won_count", "lost_count", "lost_to_count")
_SUMS = ("open", "won", "lost", "lost_to")


def win_loss(rows: Sequence[Any]) -> list[WinLoss]:
    """What the rows of WIN_LOSS say, by competitor: those first against which most was decided."""
    found: dict[UUID, WinLoss] = {}
    for row in rows:
        one = found.setdefault(row["id"], WinLoss(row["id"], row["name"] or ""))
        for name in _COUNTS:
            setattr(one, name, getattr(one, name) + row[name])
        if row["currency"]:
            one.amounts[row["currency"]] = {name: int(row[name] or 0) for name in _SUMS}
    return sorted(found.values(), key=lambda one: (-one.decided, -one.lost_count, one.name, one.id))


def check_period(first: date | None, last: date | None) -> None:
    """Raises Invalid (PERIOD_INVALID) when the days are turned around."""
    if first is not None and last is not None and last < first:
        raise Invalid("lastDay", "is before firstDay", reason="PERIOD_INVALID")
