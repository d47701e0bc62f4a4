"""What is done when somebody creates a customer or contact that is probably there already: a tenant's rule, WARN at first.
Imports have rules of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID, uuid5

from chassis.database import Transaction
from chassis.events.event import Event
from chassis.mapping import change
from chassis.only import only, only_locked
from chassis.probable import MOST_NAMED, PROBABLE, REFUSE, WARN, Likely, hold_marks, refuse
from chassis.records import Record
from customers.duplicates import Duplicates, Traits, contacts_like, customers_like

_NAMESPACE = UUID("0b8f4c11-67a3-4b0e-9d5a-3c1f7f9ab0de")


class DuplicateRule(Record, table=True):
    """A tenant's rule; there is none until somebody makes one."""

    __tablename__ = "duplicate_rules"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "duplicate_rule"

    customers: str = WARN
    contacts: str = WARN
    min_score: int = PROBABLE


@dataclass(frozen=True, kw_only=True)
class DuplicateRuleUpdated(Event):
    rule_id: UUID
    changed_fields: list[str]


def rule_id(tenant_id: UUID) -> UUID:
    """The id of a tenant's rule."""
    return uuid5(_NAMESPACE, str(tenant_id))


async def rule_of(tx: Transaction) -> DuplicateRule:
    """The tenant's rule; what holds without one when nobody has made it."""
    return await only(tx, DuplicateRule, rule_id(tx.who.tenant_id))


async def change_rule(tx: Transaction, values: Mapping[str, Any], etag: str) -> DuplicateRule:
    """Sets what is named; what is emptied holds as at first. Raises EtagMismatch."""
    rule = await only_locked(tx, DuplicateRule, rule_id(tx.who.tenant_id))
    tx.check_etag(rule, etag)
    first = {"customers": WARN, "contacts": WARN, "min_score": PROBABLE}
    changed = change(rule, {name: value or first[name] for name, value in values.items()})
    if changed:
        tx.record(DuplicateRuleUpdated(rule_id=rule.id, changed_fields=changed), on=rule)
    return rule


def _marks(traits: Traits) -> list[str]:
    return [traits.core or traits.name, *traits.phones, *traits.emails, *traits.accounts, *traits.tax_numbers]


async def check_customer(tx: Transaction, traits: Traits, id: UUID | None) -> None:
    """Raises ProbableDuplicates for a customer that the tenant's rule refuses. One that is there under the `id` it asks for is
    itself, asked for once more."""
    rule = await rule_of(tx)
    if rule.customers == REFUSE:
        await hold_marks(tx, "customers", _marks(traits))
        found = await customers_like(tx.database, tx.who, traits, id, rule.min_score, MOST_NAMED)
        refuse("customer", _likely(found), found.hidden)


async def check_contact(tx: Transaction, traits: Traits, id: UUID | None) -> None:
    """The same for a contact."""
    rule = await rule_of(tx)
    if rule.contacts == REFUSE:
        await hold_marks(tx, "contacts", _marks(traits))
        found = await contacts_like(tx.database, tx.who, traits, id, rule.min_score, MOST_NAMED)
        refuse("contact", _likely(found), found.hidden)


def _likely(found: Duplicates) -> list[Likely]:
    return [Likely(one.row["id"], one.row["display_name"], one.score) for one in found.shown]
