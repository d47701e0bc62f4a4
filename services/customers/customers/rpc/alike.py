"""What is told to somebody who has just created a customer or contact that is probably there already, where the company's rule is
to warn: the header `kehu-possible-duplicates`.

It is looked for once the record is there. What services create was decided on elsewhere, and whoever asked to create it all the
same knows: neither pays for it.
"""

from typing import Any
from uuid import UUID

from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2

from chassis.probable import MOST_NAMED, WARN, beside
from chassis.rpc import Call
from customers.duplicate_rule import DuplicateRule, rule_id
from customers.duplicates import Duplicates, contacts_like, customers_like
from customers.rpc.written import written_contact_traits, written_customer_traits

_RULE = "SELECT customers, contacts, min_score FROM duplicate_rules WHERE id = $1"


async def customers_beside(
    request: customer_service_pb2.CreateCustomerRequest, made: customer_pb2.Customer, call: Call
) -> str:
    """Which customers the new one may be; empty when there are none."""
    least = 0 if request.allow_duplicate else await _least(call, "customers")
    if not least:
        return ""
    traits = await written_customer_traits(call.database, call.who, made)
    return _told(await customers_like(call.database, call.who, traits, UUID(made.id), least, MOST_NAMED))


async def contacts_beside(
    request: contact_service_pb2.CreateContactRequest, made: contact_pb2.Contact, call: Call
) -> str:
    """The same of a contact."""
    least = 0 if request.allow_duplicate else await _least(call, "contacts")
    if not least:
        return ""
    traits = await written_contact_traits(call.database, call.who, made)
    return _told(await contacts_like(call.database, call.who, traits, UUID(made.id), least, MOST_NAMED))


async def _least(call: Call, what: str) -> int:
    """From which score on is warned; 0 when nobody is."""
    if call.who.service is not None:
        return 0
    rows = await call.database.read(call.who, _RULE, rule_id(call.who.tenant_id))
    rule: Any = rows[0] if rows else vars(DuplicateRule())
    return rule["min_score"] if rule[what] == WARN else 0


def _told(found: Duplicates) -> str:
    shown = [(one.row["id"], one.score, [why.kind for why in one.reasons]) for one in found.shown]
    return beside(shown, found.hidden)
