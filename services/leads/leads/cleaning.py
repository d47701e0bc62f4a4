"""Leads looked through: what of them would be written in another way, which are kept twice, and what is proposed.

Each reason why two may be the same has a weight, and the score is what is left of doubt when each takes its share:
100 (1 - (1-w1)(1-w2)...), as customers scores its own. Candidates come from indexes, so the cost follows what is found.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chassis.company_names import core_name, fragments
from chassis.company_names import likeness as alike
from chassis.database import Database
from chassis.duplicates.lookup import asked, looked_up
from chassis.duplicates.pair import set_apart
from chassis.duplicates.swept import Key
from chassis.principal import Act, Principal
from chassis.search import Query, equal_to, holding, normalised, phone_forms
from chassis.visibility import covers
from leads.words import CONVERTED, DISQUALIFIED, OPEN

LEAD, CUSTOMER, CONTACT = "LEAD", "CUSTOMER", "CONTACT"
REPAIR, MERGE, ATTACH, DISQUALIFY = "REPAIR", "MERGE", "ATTACH", "DISQUALIFY"
MOST_SHOWN = 10
LEAST_SCORE = 50
_SURE_LEAD, _SURE_CONTACT, _SURE_CUSTOMER = 65, 65, 80
"""From which score on merging or attaching is proposed. A number alone is enough among people, and not among companies, where it
may be a switchboard's."""
_WEIGHTS = {
    "EMAIL": 0.75,
    "PHONE": 0.65,
    "COMPANY_NAME": 0.45,
    "CORE_NAME": 0.4,
    "SIMILAR_NAME": 0.3,
    "NAME": 0.35,
}
_COMPANIES = ("COMPANY_NAME", "CORE_NAME", "SIMILAR_NAME")
_ONLY_COMPANY = {"COMPANY_NAME": 0.6, "CORE_NAME": 0.55, "SIMILAR_NAME": 0.5}
_MOST_EQUAL, _MOST_ALIKE = 50, 20
"""Candidates that one search brings."""
_ALIKE = 75.0
_SHORT_CORE = 2


@dataclass(frozen=True)
class Twin:
    """What may be the same as a lead."""

    kind: str
    id: UUID
    name: str
    score: int
    reasons: Sequence[str]
    customer_id: UUID | None = None
    status: str = ""
    elder: bool = False
    """Of a lead: whether it was there before."""


@dataclass(frozen=True)
class Proposal:
    """What might be done with a lead."""

    action: str = ""
    survivor_id: UUID | None = None
    customer_id: UUID | None = None
    contact_id: UUID | None = None
    reason: str = ""


@dataclass
class Finding:
    """What was found about a lead, a row of the read path. `repairs` are columns with what they would hold."""

    lead: Any
    repairs: dict[str, str]
    twins: list[Twin] = field(default_factory=list[Twin])
    hidden: int = 0
    read_only: set[UUID] = field(default_factory=set[UUID])
    """Customers that whoever asks may see and not change: nothing is attached to them."""

    @property
    def proposal(self) -> Proposal:
        return propose(Columns(self.lead), self.repairs, self.twins, self.read_only)

    def __bool__(self) -> bool:
        return bool(self.repairs or self.twins or self.hidden or self.proposal.action)


def propose(
    lead: Any, repairs: dict[str, str], twins: Sequence[Twin], read_only: Collection[UUID] = ()
) -> Proposal:
    """What follows from what was found: what is there as a customer is attached to it, the younger of two leads goes into the
    elder, who cannot be reached by anything is no lead, and what is left is written as it is kept."""
    twins = [twin for twin in twins if twin.customer_id is None or twin.customer_id not in read_only]
    contact = _surest(twins, CONTACT, _SURE_CONTACT)
    if contact is not None and contact.customer_id is not None:
        return Proposal(ATTACH, customer_id=contact.customer_id, contact_id=contact.id)
    customer = _surest(twins, CUSTOMER, _SURE_CUSTOMER)
    if customer is not None:
        return Proposal(ATTACH, customer_id=customer.id)
    for twin in twins:
        if twin.kind == LEAD and twin.score >= _SURE_LEAD:
            if twin.status == CONVERTED and twin.customer_id is not None:
                return Proposal(ATTACH, customer_id=twin.customer_id)
            if twin.status in OPEN and twin.elder:
                return Proposal(MERGE, survivor_id=twin.id)
    if not any(getattr(lead, name) for name in ("phone", "email", "im_account", "website", "address")):
        return Proposal(DISQUALIFY, reason="INVALID_DATA")
    return Proposal(REPAIR) if repairs else Proposal()


def _surest(twins: Sequence[Twin], kind: str, least: int) -> Twin | None:
    return next((twin for twin in twins if twin.kind == kind and twin.score >= least), None)


def likeness(one: Any, other: Any) -> tuple[int, list[str]]:
    """How likely two leads are the same, 0 to 100, and why, the strongest reason first."""
    weights: dict[str, float] = {}
    for kind, name in (("EMAIL", "email"), ("PHONE", "phone"), ("NAME", "name")):
        mine, theirs = _tight(getattr(one, name)), _tight(getattr(other, name))
        if mine and mine == theirs:
            weights[kind] = _WEIGHTS[kind]
    company = _same_company(one.company_name, other.company_name)
    if company:
        weights[company] = _WEIGHTS[company]
    if set(weights) == {company}:
        # Two people of one company are two leads; a company without a person may be meant twice.
        weights = {} if one.name and other.name else {company: _ONLY_COMPANY[company]}
    if set(weights) == {"NAME"}:
        weights = {}
    doubt = 1.0
    for weight in weights.values():
        doubt *= 1 - weight
    return round(100 * (1 - doubt)), sorted(weights, key=lambda kind: -weights[kind])


def _same_company(one: str, other: str) -> str:
    """Why two companies may be the same; empty when their names are too different."""
    mine, theirs = _tight(one), _tight(other)
    if not mine or not theirs:
        return ""
    if mine == theirs:
        return "COMPANY_NAME"
    cores = core_name(one), core_name(other)
    if cores[0] == cores[1]:
        return "CORE_NAME"
    return "SIMILAR_NAME" if alike(*cores) >= _ALIKE else ""


def _tight(text: str) -> str:
    return normalised(text).replace(" ", "")


_FOUND = (
    "SELECT t.* FROM leads t WHERE t.deleted_at IS NULL AND t.id <> $1 AND t.status <> $2 AND t.id IN ("  # noqa: S608 (constants)
    "(SELECT id FROM leads WHERE email <> '' AND email = $3 AND deleted_at IS NULL LIMIT 1000)"
    " UNION (SELECT id FROM leads WHERE phone <> '' AND phone = $4 AND deleted_at IS NULL LIMIT 1000)"
    " UNION SELECT s.id FROM " + looked_up("leads", 5) + ") ORDER BY t.created_at, t.id LIMIT 200"
)


def keys(lead: Any) -> list[Key]:
    """By what the index is asked for others that may be the same: its address and number, the company's name, its core, and what
    is left of it with a slip of the pen."""
    found: dict[Query, Key] = {}

    def ask(reason: str, value: str, query: Query | None, hint: int = 0) -> None:
        if query:
            besides = _COMPANIES if reason in _COMPANIES else ()
            found.setdefault(query, Key(reason, value, query, hint, besides))

    ask("EMAIL", lead.email, equal_to(lead.email))
    for digits in phone_forms(lead.phone)[:1]:
        ask("PHONE", lead.phone, equal_to(digits))
    for reason, value, query, hint in _by_company(lead):
        ask(reason, value, query, hint)
    return list(found.values())


def _by_company(lead: Any) -> list[tuple[str, str, Query | None, int]]:
    if not lead.company_name:
        return []
    core = core_name(lead.company_name)
    company, person = equal_to(lead.company_name), equal_to(lead.name)
    keyed: list[tuple[str, str, Query | None, int]] = []
    if company and person:
        # Of a company with very many leads, this one's.
        both = Query(
            company.words + person.words, company.grams + person.grams, company.phrase, company.exact
        )
        keyed.append(("NAME", lead.name, both, _MOST_EQUAL))
    keyed.append(("COMPANY_NAME", lead.company_name, company, 0))
    if len(core) > _SHORT_CORE:
        keyed.append(("CORE_NAME", core, holding([core]), _MOST_EQUAL))
    return keyed + [("SIMILAR_NAME", core, holding(parts), _MOST_ALIKE) for parts in fragments(core)]


def _questions(lead: Any) -> list[dict[str, Any]]:
    """What is asked of the index: by the company, since number and address have indexes of their own."""
    wanted = {query: hint or _MOST_EQUAL for _, _, query, hint in reversed(_by_company(lead)) if query}
    return asked(wanted.items())


async def leads_like(
    database: Database, who: Principal, lead: Any, least: int = LEAST_SCORE
) -> tuple[list[Twin], int]:
    """The leads that may be the same, the likeliest first, and how many more there are that the caller may not see. `lead` has
    the columns as they would be kept."""
    rows = await database.read(who, _FOUND, lead.id, DISQUALIFIED, lead.email, lead.phone, _questions(lead))
    scored = [(other, *likeness(lead, other)) for other in map(Columns, rows)]
    likely = [one for one in scored if one[1] >= least]
    apart = await set_apart(database, who, "lead", lead.id, [other.id for other, _, _ in likely])
    found: list[Twin] = []
    hidden = 0
    for other, score, reasons in likely:
        if other.id in apart:
            continue
        if not covers(other, who, "leads", Act.READ):
            hidden += 1
            continue
        elder = (other.created_at, other.id) < (lead.created_at, lead.id)
        found.append(
            Twin(
                LEAD, other.id, other.name or other.company_name, score, reasons, other.customer_id, other.status, elder
            )
        )  # fmt: skip
    return sorted(found, key=lambda twin: -twin.score), hidden


class Columns:
    """A row of the read path, read like a row object; `over` are columns as they would be kept."""

    def __init__(self, row: Any, over: dict[str, Any] | None = None) -> None:
        self._row = row
        self._over = over or {}

    def __getattr__(self, name: str) -> Any:
        if name in self._over:
            return self._over[name]
        try:
            return self._row[name]
        except KeyError:
            raise AttributeError(name) from None
