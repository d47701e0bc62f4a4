"""Customers and contacts that may be kept twice: found by what they have in common, told with a score and its reasons.

Candidates come from the index of words (`chassis.search`): whole numbers, addresses and names by the gram that only equal texts
have, names with a slip of the pen by what is left of them. So the cost follows what is found and not how many there are. Each
reason has a weight, and the score is what is left of doubt when each takes its share: 100 (1 - (1-w1)(1-w2)...).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from chassis.company_names import core_name, fragments, likeness
from chassis.database import Database
from chassis.duplicates.lookup import asked, looked_up
from chassis.duplicates.pair import set_apart
from chassis.duplicates.swept import MOST_ALIKE, Key, Namesakes
from chassis.principal import Act, Principal
from chassis.search import Query, equal_to, holding, normalised, phone_forms
from chassis.visibility import Holder, covers
from customers.profile import CONTACT_WAYS, CUSTOMER_WAYS, Way

T = TypeVar("T")

LEAST_SCORE = 50
MOST_SHOWN = 10
_MOST_EQUAL, _MOST_ALIKE = 100, 40
"""Candidates that one search brings, and of thousands (a switchboard's number) some of the sample: see `chassis.schema`."""
_ALIKE = 75.0
_WEIGHTS: Mapping[str, float] = {
    "TAX_NUMBER": 0.95, "EMAIL": 0.75, "ACCOUNT": 0.75, "PHONE": 0.65, "NAME": 0.85, "CORE_NAME": 0.7,
}  # fmt: skip
_NAMESAKE = 0.35
"""Many people have one name."""
_COLLEAGUE = 0.5


@dataclass(frozen=True, kw_only=True)
class Traits:
    """By what a customer or contact is compared."""

    company: bool
    name: str
    phones: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    tax_numbers: frozenset[str] = frozenset()
    customers: frozenset[UUID] = frozenset()
    """Those that a contact belongs to."""
    core: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "core", core_name(self.name) if self.company else "")


@dataclass(frozen=True)
class Reason:
    """Why two may be the same. `likeness` is 0 but for names."""

    kind: str
    value: str
    weight: float
    likeness: int = 0


@dataclass(frozen=True)
class Duplicate:
    """A row that may be the same, with a score from 0 to 100."""

    row: Any
    score: int
    reasons: Sequence[Reason]


@dataclass(frozen=True)
class Duplicates:
    """What was found: what the caller may see, and how many more there are."""

    shown: Sequence[Duplicate]
    hidden: int


def customer_traits(read: Callable[[str], Any]) -> Traits:
    """Of a customer; `read` gives its columns."""
    entries = _entries(CUSTOMER_WAYS, read)
    numbers = (read("tax_number"), read("registration_number"))
    return Traits(
        company=read("kind") != "PERSON", name=read("display_name"), phones=entries["phones"], emails=entries["emails"],
        accounts=entries["accounts"], tax_numbers=frozenset(key for number in numbers if (key := _number(number))),
    )  # fmt: skip


def contact_traits(read: Callable[[str], Any]) -> Traits:
    """Of a contact; `read` gives its columns."""
    others = {UUID(one["customer_id"]) for one in read("affiliations")}
    entries = _entries(CONTACT_WAYS, read)
    return Traits(
        company=False, name=read("display_name"), phones=entries["phones"], emails=entries["emails"],
        accounts=entries["accounts"], customers=frozenset({read("customer_id"), *others}),
    )  # fmt: skip


def _entries(ways: Sequence[Way], read: Callable[[str], Any]) -> dict[str, frozenset[str]]:
    out: dict[str, frozenset[str]] = {}
    for way in ways:
        if way.name != "addresses":
            shown = [
                f"{one['label']} {one['account']}" if way.name == "accounts" else one[way.value]
                for one in way.entries(read)
            ]
            out[way.name] = frozenset(normalised(value) for value in shown if value)
    return out


def _number(text: str) -> str:
    return "".join(part for part in normalised(text) if part.isalnum())


def reasons(one: Traits, other: Traits) -> list[Reason]:
    """Why `other` may be the same as `one`, the strongest first; none when nothing speaks for it."""
    found: list[Reason] = []
    for kind, mine, theirs in (
        ("TAX_NUMBER", one.tax_numbers, other.tax_numbers), ("EMAIL", one.emails, other.emails),
        ("ACCOUNT", one.accounts, other.accounts), ("PHONE", one.phones, other.phones),
    ):  # fmt: skip
        same = sorted(mine & theirs)
        if same:
            found.append(Reason(kind, same[0], _WEIGHTS[kind]))
    name = _same_name(one, other)
    if name is not None:
        found.append(name)
    if found and one.customers & other.customers:
        found.append(Reason("SAME_CUSTOMER", "", _COLLEAGUE if name else 0.0))
    return sorted(found, key=lambda reason: -reason.weight)


def _same_name(one: Traits, other: Traits) -> Reason | None:
    if _tight(one.name) == _tight(other.name):
        weight = _WEIGHTS["NAME"] if one.company and other.company else _NAMESAKE
        return Reason("NAME", other.name, weight, 100)
    if not (one.company and other.company):
        return None
    if one.core == other.core:
        return Reason("CORE_NAME", other.name, _WEIGHTS["CORE_NAME"], 100)
    alike = likeness(one.core, other.core)
    if alike < _ALIKE:
        return None
    return Reason("SIMILAR_NAME", other.name, 0.45 + 0.25 * (alike - _ALIKE) / (100 - _ALIKE), int(alike))


def _tight(name: str) -> str:
    return normalised(name).replace(" ", "")


def scored(one: Traits, other: Traits) -> tuple[int, list[Reason]]:
    """The score and the reasons, with what speaks against it."""
    found = reasons(one, other)
    doubt = 1.0
    for reason in found:
        doubt *= 1 - reason.weight
    score = 1 - doubt
    against = one.tax_numbers and other.tax_numbers and not one.tax_numbers & other.tax_numbers
    if found and against:
        found.append(Reason("OTHER_TAX_NUMBER", sorted(other.tax_numbers)[0], 0.0))
        score /= 2
    return round(100 * score), found


def keys(traits: Traits) -> list[Key]:
    """By what the index is asked for others that may be the same."""
    equal = [("EMAIL", address, address) for address in traits.emails]
    equal += [("TAX_NUMBER", number, number) for number in traits.tax_numbers]
    equal += [("PHONE", phone, digits) for phone in traits.phones for digits in phone_forms(phone)[:1]]
    equal += [("ACCOUNT", account, account.rpartition(" ")[2]) for account in traits.accounts]
    alike: list[Query | None] = []
    if traits.company:
        equal += [("NAME", traits.name, traits.name), ("CORE_NAME", traits.core, traits.core)]
        if len(traits.core) > _SHORT_CORE:
            alike.append(holding([traits.core]))
        alike += [holding(parts) for parts in fragments(traits.core)]
    found = {
        query: Key(reason, value, query, besides=_NAMES if reason in _NAMES else ())
        for reason, value, text in equal
        if (query := equal_to(text))
    }
    for query in alike:
        if query:
            found.setdefault(query, Key("SIMILAR_NAME", traits.name, query, hint=_MOST_ALIKE))
    return list(found.values())


_SHORT_CORE = 2
_NAMES = ("NAME", "CORE_NAME", "SIMILAR_NAME")
_CUSTOMERS = (
    "SELECT t.* FROM customers t WHERE t.deleted_at IS NULL AND t.id IN (SELECT s.id FROM "  # noqa: S608 (constants)
    + looked_up("customers", 1)
    + ")"
)
# Namesakes are looked for among colleagues only; a customer may have more of them than are looked through. What fits nothing
# is left out where the rows are: scoring them holds up everybody else.
_MOST_LOOKED_THROUGH = 2000
_CONTACTS = (
    "SELECT t.* FROM contacts t WHERE t.deleted_at IS NULL AND (t.id IN (SELECT s.id FROM "  # noqa: S608 (constants)
    + looked_up("contacts", 1)
    + ") OR t.id IN (SELECT c.id FROM ("
    "(SELECT c.id, c.display_name FROM contacts c WHERE c.customer_id = ANY($2::uuid[]) AND c.deleted_at IS NULL LIMIT $4)"
    " UNION ALL (SELECT c.id, c.display_name FROM contact_affiliations a JOIN contacts c ON c.id = a.contact_id"
    " AND c.deleted_at IS NULL WHERE a.customer_id = ANY($2::uuid[]) LIMIT $4)"
    ") c WHERE lower(c.display_name) = $3 LIMIT $5))"
)
_HOLDERS = (
    "SELECT m.contact_id, c.owner_id, c.team_id, c.shared_with FROM (SELECT id AS contact_id, customer_id FROM contacts"
    " WHERE id = ANY($1::uuid[]) UNION ALL SELECT contact_id, customer_id FROM contact_affiliations"
    " WHERE contact_id = ANY($1::uuid[])) m JOIN customers c ON c.id = m.customer_id AND c.deleted_at IS NULL"
)


def _questions(traits: Traits) -> list[dict[str, Any]]:
    return asked((key.query, key.hint or _MOST_EQUAL) for key in keys(traits))


async def customers_like(
    database: Database, who: Principal, traits: Traits, itself: UUID | None, least: int, most: int
) -> Duplicates:
    """The customers that may be the same as one with these traits, but for `itself`."""
    rows = await database.read(who, _CUSTOMERS, _questions(traits))
    found = _ranked(rows, traits, customer_traits, itself, least)
    found = await _not_apart(database, who, "customer", itself, found)
    return _parted(found, who, most, {})


async def contacts_like(
    database: Database, who: Principal, traits: Traits, itself: UUID | None, least: int, most: int
) -> Duplicates:
    """The contacts that may be the same as one with these traits, but for `itself`."""
    rows = await database.read(
        who, _CONTACTS, _questions(traits), list(traits.customers), normalised(traits.name),
        _MOST_LOOKED_THROUGH, _MOST_EQUAL,
    )  # fmt: skip
    found = _ranked(rows, traits, contact_traits, itself, least)
    found = await _not_apart(database, who, "contact", itself, found)
    through: dict[UUID, list[Holder]] = {}
    for row in await database.read(who, _HOLDERS, [one.row["id"] for one in found]) if found else ():
        through.setdefault(row["contact_id"], []).append(_holder(row))
    return _parted(found, who, most, through)


def _ranked(
    rows: Iterable[Any], traits: Traits, read: Callable[[Callable[[str], Any]], Traits], itself: UUID | None, least: int
) -> list[Duplicate]:  # fmt: skip
    found: list[Duplicate] = []
    for row in rows:
        if row["id"] != itself:
            score, why = scored(traits, read(partial(_column, row)))
            if why and score >= (least or LEAST_SCORE):
                found.append(Duplicate(row, score, why))
    return sorted(found, key=lambda one: (-one.score, one.row["created_at"], one.row["id"]))


async def _not_apart(
    database: Database, who: Principal, kind: str, itself: UUID | None, found: list[Duplicate]
) -> list[Duplicate]:
    """Without those of whom somebody has said that they are not the same."""
    apart = await set_apart(database, who, kind, itself, [one.row["id"] for one in found])
    return [one for one in found if one.row["id"] not in apart]


# One statement for all of them; a customer may have more contacts than are looked through.
_MOST_COLLEAGUES = 500
_COLLEAGUES = (
    "SELECT m.contact_id, m.customer_id, m.display_name, count(*) AS many, array_agg(c.id) FILTER (WHERE c.id <> m.contact_id"
    " AND lower(c.display_name) = lower(m.display_name)) AS namesakes"
    " FROM (SELECT id AS contact_id, customer_id, display_name FROM contacts WHERE id = ANY($1::uuid[])"
    " UNION SELECT a.contact_id, a.customer_id, c.display_name FROM contact_affiliations a"
    " JOIN contacts c ON c.id = a.contact_id WHERE a.contact_id = ANY($1::uuid[])) m, LATERAL"
    " ((SELECT c.id, c.display_name FROM contacts c WHERE c.customer_id = m.customer_id AND c.deleted_at IS NULL LIMIT $2)"
    " UNION (SELECT c.id, c.display_name FROM contact_affiliations a JOIN contacts c ON c.id = a.contact_id"
    " AND c.deleted_at IS NULL WHERE a.customer_id = m.customer_id LIMIT $2)) c"
    " GROUP BY m.contact_id, m.customer_id, m.display_name"
)


async def namesakes(database: Database, who: Principal, ids: Sequence[UUID]) -> Namesakes:
    """Contacts of the same customer with the same name as one of these."""
    rows = await database.read(who, _COLLEAGUES, list(ids), _MOST_COLLEAGUES + 1)
    # A customer may have hundreds who are called reception: of them it tells nothing.
    few = [row for row in rows if len(row["namesakes"] or ()) < MOST_ALIKE]
    names = {row["display_name"] for row in rows if len(row["namesakes"] or ()) >= MOST_ALIKE}
    pairs = [(row["contact_id"], id) for row in few for id in row["namesakes"] or ()]
    crowded = {row["customer_id"] for row in rows if row["many"] > _MOST_COLLEAGUES}
    frequent = [("SAME_CUSTOMER", str(id)) for id in sorted(crowded)]
    return Namesakes(pairs, frequent + [("NAME", name) for name in sorted(names)])


def _column(row: Any, name: str) -> Any:
    return row[name]


def _holder(row: Any) -> Holder:
    return Holder(row["owner_id"], row["team_id"], row.get("shared_with"))


def _parted(
    found: Sequence[Duplicate], who: Principal, most: int, through: Mapping[UUID, Sequence[Holder]]
) -> Duplicates:
    seen = [
        one
        for one in found
        if any(
            covers(holder, who, "customers", Act.READ)
            for holder in (_holder(one.row), *through.get(one.row["id"], ()))
        )
    ]
    return Duplicates(seen[: most or MOST_SHOWN], len(found) - len(seen))
