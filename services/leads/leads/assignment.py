"""Rules of assignment: to whom a lead is given, and whose turn it is.

The rules are asked in their order; the first whose condition holds and who has somebody to give the lead to decides. All
active rules of a tenant are locked while that is asked: so no turn is skipped or taken twice, and nobody gets more open leads
than a rule allows, however many replicas give leads away at once. Who is there is asked of identity before, when nothing is
locked yet (`Roster`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Uuid, bindparam, text
from sqlmodel import Field

from chassis.custom_fields.known import Definitions
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.mapping import change as set_columns
from chassis.owners import Owner
from chassis.records import Record
from leads.conditions import ABOUT, check, fields_of, holds
from leads.errors import RulesChanged
from leads.handling import Handling, settings_of
from leads.lead import Lead, offer
from leads.lead_events import LeadAssigned, tell
from leads.words import LEAST_LOADED, OPEN, PASSED_ON, ROUND_ROBIN, RULE

JOB = "assignment"
"""Asks the rules about leads that were captured or returned."""
EXPIRY = "acceptance"
"""Looks whether a lead was accepted in time."""


class AssignmentRule(Record, table=True):
    """One rule. The cursor (`last_person_id`, `turn_order`, `given_count`) moves without the rule counting as changed."""

    __tablename__ = "assignment_rules"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "assignment_rule"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"last_person_id", "turn_order", "given_count"})

    name: str = ""
    position: int = 0
    active: bool = True
    condition: str = ""
    default_rule: bool = False
    distribution: str = ROUND_ROBIN
    person_ids: list[UUID] = Field(default_factory=list[UUID], sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    team_id: UUID | None = None
    open_lead_limit: int = 0
    accept_minutes: int = 0
    last_person_id: UUID | None = None
    turn_order: list[UUID] = Field(default_factory=list[UUID], sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    """The people as their turns were to come when the last lead was given away; who got it stands at the end."""
    given_count: int = Field(default=0, sa_type=BigInteger)


@dataclass(frozen=True, kw_only=True)
class AssignmentRuleEvent(Event):
    """What every event says of a rule."""

    rule_id: UUID
    name: str


class AssignmentRuleCreated(AssignmentRuleEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class AssignmentRuleUpdated(AssignmentRuleEvent):
    changed_fields: list[str]


class AssignmentRuleDeleted(AssignmentRuleEvent):
    pass


async def add_rule(tx: Transaction, rule: AssignmentRule) -> None:
    """A new rule. Raises Invalid."""
    await check_rule(tx, rule)
    tx.add(rule)
    tx.record(AssignmentRuleCreated(rule_id=rule.id, name=rule.name), on=rule)


async def change_rule(tx: Transaction, rule: AssignmentRule, values: Mapping[str, Any]) -> None:
    """Changes a rule. Raises Invalid."""
    changed = set_columns(rule, values)
    await check_rule(tx, rule, changed)
    if changed:
        tx.record(AssignmentRuleUpdated(rule_id=rule.id, name=rule.name, changed_fields=changed), on=rule)


def remove_rule(tx: Transaction, rule: AssignmentRule) -> None:
    """Deletes a rule; whom it has given leads keep them."""
    tx.delete(rule)
    tx.record(AssignmentRuleDeleted(rule_id=rule.id, name=rule.name), on=rule)


async def check_rule(
    tx: Transaction, rule: AssignmentRule, changed: Collection[str] = ("condition",)
) -> None:
    """Raises Invalid for a rule that cannot be asked. A condition that was not changed is not looked at: what it names may
    have gone since."""
    if "condition" in changed:
        rule.condition = await check(tx, rule.condition, ABOUT, "rule.condition")
    rule.distribution = rule.distribution or ROUND_ROBIN
    if bool(rule.person_ids) == (rule.team_id is not None):
        raise Invalid("rule.personIds", "a rule gives leads to people or to a team: name one of them")
    if rule.default_rule and rule.condition:
        raise Invalid("rule.condition", "the default rule takes whatever is left: it has no condition")


@dataclass(frozen=True)
class Roster:
    """Who can be given leads: the active people among those the rules name, and the active members of their teams, in the
    order in which they joined. `asked` are the people and teams identity was asked about."""

    asked: frozenset[UUID]
    people: Mapping[UUID, Owner]
    teams: Mapping[UUID, Sequence[UUID]]


def turns(people: Sequence[UUID], before: Sequence[UUID]) -> list[UUID]:
    """The people in the order of their turns; `before` is how the turns were to come when somebody last had one, that one at
    the end.

    Who has come since stands where the list has them. When the list no longer has whoever had the last turn, the next one
    then who is still there is next: so nobody is left out, however many have gone.
    """
    if before and before[-1] in people:
        place = people.index(before[-1]) + 1
    else:
        place = next((people.index(person) for person in before if person in people), 0)
    return [*people[place:], *people[:place]]


def chosen(
    people: Sequence[UUID],
    before: Sequence[UUID],
    distribution: str,
    loads: Mapping[UUID, int],
    fit: Callable[[UUID], bool],
) -> UUID | None:
    """Whose lead it is, of those who are fit; None when nobody is."""
    waiting = [person for person in turns(people, before) if fit(person)]
    if not waiting:
        return None
    if distribution == LEAST_LOADED:
        return min(waiting, key=lambda person: loads.get(person, 0))  # the first of equals, whose turn it is
    return waiting[0]


@dataclass
class _Rule:
    """A rule as it stands in this transaction, with its cursor."""

    id: UUID
    name: str
    condition: str
    default_rule: bool
    distribution: str
    person_ids: list[UUID]
    team_id: UUID | None
    open_lead_limit: int
    accept_minutes: int
    last_person_id: UUID | None
    turn_order: list[UUID]
    given_count: int
    moved: bool = field(default=False, compare=False)


_RULES = text(
    "SELECT id, name, condition, default_rule, distribution, person_ids, team_id, open_lead_limit, accept_minutes,"
    " last_person_id, turn_order, given_count FROM assignment_rules WHERE active AND deleted_at IS NULL"
    " ORDER BY default_rule, position, id FOR UPDATE"
)
_MOVE = text(
    "UPDATE assignment_rules SET last_person_id = :last_person_id, turn_order = :turn_order, given_count = :given_count"
    " WHERE id = :id"
).bindparams(bindparam("turn_order", type_=ARRAY(Uuid)))
_AWAY = text(
    "SELECT owner_id FROM absences WHERE from_time <= :now AND until_time > :now AND deleted_at IS NULL"
)
_LOADS = text(
    "SELECT owner_id, count(*) AS open_leads FROM leads WHERE owner_id = ANY(:people) AND status = ANY(:open)"
    " AND deleted_at IS NULL GROUP BY owner_id"
).bindparams(bindparam("people", type_=ARRAY(Uuid)))


async def open_leads(tx: Transaction, people: Collection[UUID]) -> dict[UUID, int]:
    """How many open leads each of them has; those who have none are left out."""
    rows = await tx.session.execute(_LOADS, {"people": list(people), "open": list(OPEN)})
    return {UUID(str(row.owner_id)): row.open_leads for row in rows}


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules said about a lead: ASSIGNED, NO_RULE, NOBODY_AVAILABLE or NOT_ASSIGNABLE."""

    lead: Lead
    outcome: str
    rule_id: UUID | None = None
    rule_name: str = ""


class Dealer:
    """Gives leads away by the rules, which it has locked."""

    def __init__(
        self, tx: Transaction, handling: Handling, roster: Roster, rules: list[_Rule], away: set[UUID],
        loads: dict[UUID, int], max_offers: int, custom: Definitions,
    ) -> None:  # fmt: skip
        self._tx = tx
        self._handling = handling
        self._roster = roster
        self._rules = rules
        self._away = away
        self._loads = loads
        self._max_offers = max_offers
        self._custom = custom

    def decide(self, lead: Lead, cause: str = RULE) -> Decision:
        """Gives the lead to whom the rules name; when they name nobody, nothing changes.

        PASSED_ON goes on where others have returned it or let the time pass: they are not asked again. Else it begins anew.
        """
        if lead.status not in OPEN:
            return Decision(lead, "NOT_ASSIGNABLE")
        passed_over = lead.offered_to if cause == PASSED_ON else []
        offered_in_vain = len(passed_over) >= self._max_offers > 0
        held = False
        for rule in self._rules:
            if (offered_in_vain and not rule.default_rule) or not holds(rule.condition, lead, self._custom):
                continue
            held = True
            person = self._chosen(rule, lead, passed_over)
            if person is not None:
                ask = rule.accept_minutes if not offered_in_vain else 0
                self._give(lead, rule, person, cause, ask)
                return Decision(lead, "ASSIGNED", rule.id, rule.name)
        return Decision(lead, "NOBODY_AVAILABLE" if held else "NO_RULE")

    def _people(self, rule: _Rule) -> Sequence[UUID]:
        return rule.person_ids if rule.team_id is None else self._roster.teams.get(rule.team_id, ())

    def _chosen(self, rule: _Rule, lead: Lead, passed_over: Collection[UUID]) -> UUID | None:
        loads = dict(self._loads)
        if lead.owner_id is not None and lead.owner_id in loads:
            loads[lead.owner_id] -= 1  # the lead itself burdens nobody who may keep it

        def fit(person: UUID) -> bool:
            return (
                person in self._roster.people
                and person not in self._away
                and person not in passed_over
                and not 0 < rule.open_lead_limit <= loads.get(person, 0)
            )

        return chosen(self._people(rule), rule.turn_order, rule.distribution, loads, fit)

    def _give(self, lead: Lead, rule: _Rule, person: UUID, cause: str, accept_minutes: int) -> None:
        previous = lead.owner_id
        if previous is not None and previous in self._loads:
            self._loads[previous] -= 1
        self._loads[person] = self._loads.get(person, 0) + 1
        if cause != PASSED_ON:
            # Else those who did not want it are not given it again before somebody works on it.
            lead.settle_acceptance()
        lead.belong(self._roster.people[person], self._tx.now, cause)
        lead.assignment_rule_id, lead.assignment_rule_name = rule.id, rule.name
        if accept_minutes:
            offer(lead, self._tx.now + timedelta(minutes=accept_minutes))
        rule.last_person_id, rule.turn_order = person, turns(self._people(rule), [person])
        rule.given_count += 1
        rule.moved = True
        tell(self._tx, lead, self._handling, LeadAssigned, previous_owner_id=previous)

    async def finish(self, leads: Iterable[Lead]) -> None:
        """Writes whose turn it was, and sees to it that offers end."""
        for rule in self._rules:
            if rule.moved:
                await self._tx.session.execute(
                    _MOVE,
                    {
                        "id": rule.id,
                        "last_person_id": rule.last_person_id,
                        "turn_order": rule.turn_order,
                        "given_count": rule.given_count,
                    },
                )
        for lead in leads:
            await watch_acceptance(self._tx, lead)


async def watch_acceptance(tx: Transaction, lead: Lead) -> None:
    """Has it looked at when the time to accept it has passed."""
    if lead.accept_until_time is not None:
        until = lead.accept_until_time
        payload = {"lead_id": str(lead.id), "until": until.isoformat()}
        await tx.enqueue(EXPIRY, payload, due_at=until, key=str(lead.id))


async def dealer(tx: Transaction, handling: Handling, roster: Roster) -> Dealer:
    """Locks the rules. The leads to decide about are locked before. Raises RulesChanged when the rules name somebody about
    whom identity was not asked."""
    rules = [_Rule(**_plain(row)) for row in (await tx.session.execute(_RULES)).mappings()]
    named = {id for rule in rules for id in (*rule.person_ids, rule.team_id) if id is not None}
    if not named <= roster.asked:
        raise RulesChanged
    away = {UUID(str(id)) for id in (await tx.session.execute(_AWAY, {"now": tx.now})).scalars()}
    loads = await open_leads(tx, roster.people)
    settings = await settings_of(tx)
    custom = await fields_of(tx, [rule.condition for rule in rules])
    return Dealer(tx, handling, roster, rules, away, loads, settings.max_offers, custom)


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The driver's UUIDs are of a class of their own."""
    values = dict(row)
    for name in ("id", "team_id", "last_person_id"):
        values[name] = UUID(str(values[name])) if values[name] is not None else None
    for name in ("person_ids", "turn_order"):
        values[name] = [UUID(str(id)) for id in values[name]]
    return values


_LOCK = text("SELECT id FROM leads WHERE id = ANY(:ids) AND deleted_at IS NULL ORDER BY id FOR UPDATE").bindparams(
    bindparam("ids", type_=ARRAY(Uuid))
)  # fmt: skip


async def lock_leads(tx: Transaction, ids: Iterable[UUID]) -> list[Lead]:
    """The leads of those ids that are there, locked; always in one order, so that two who want the same do not wait for each
    other."""
    wanted = list(dict.fromkeys(ids))
    await tx.session.execute(_LOCK, {"ids": sorted(wanted)})
    found = [await tx.find(Lead, id) for id in wanted]
    return [lead for lead in found if lead is not None]


async def assign_by_rules(
    tx: Transaction, leads: Sequence[Lead], handling: Handling, roster: Roster, cause: str = RULE
) -> list[Decision]:
    """Asks the rules about leads that are locked. Raises RulesChanged."""
    deals = await dealer(tx, handling, roster)
    decisions = [deals.decide(lead, cause) for lead in leads]
    await deals.finish(leads)
    return decisions
