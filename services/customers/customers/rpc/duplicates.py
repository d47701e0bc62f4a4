"""DuplicateService."""

from collections.abc import Sequence
from uuid import UUID

from kehu.customers.v1 import duplicate_pb2 as pb
from kehu.customers.v1 import duplicate_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.mapping import Mapping
from chassis.rpc import Call, Face
from customers.duplicate_rule import DuplicateRule, change_rule, rule_id
from customers.duplicates import (
    Duplicates,
    Reason,
    contact_traits,
    contacts_like,
    customer_traits,
    customers_like,
)
from customers.rpc.contacts import CONTACTS, contact_messages
from customers.rpc.customers import CUSTOMERS
from customers.rpc.messages import customer_card, rule_message, rule_now
from customers.rpc.written import written_contact_traits, written_customer_traits

face = Face("kehu.customers.v1.DuplicateService")
_RULE = Mapping(pb.DuplicateRule)
_ROW = "SELECT * FROM duplicate_rules WHERE id = $1"


def _why(reasons: Sequence[Reason]) -> list[pb.DuplicateReason]:
    return [
        pb.DuplicateReason(
            kind=pb.DuplicateReasonKind.Value(f"DUPLICATE_REASON_KIND_{reason.kind}"), value=reason.value,
            likeness=reason.likeness,
        )
        for reason in reasons
    ]  # fmt: skip


def _customers(found: Duplicates) -> pb.CustomerDuplicates:
    answer = pb.CustomerDuplicates(hidden_count=found.hidden)
    for one in found.shown:
        answer.duplicates.add(customer=customer_card(one.row), score=one.score, reasons=_why(one.reasons))
    return answer


async def _contacts(call: Call, found: Duplicates) -> pb.ContactDuplicates:
    answer = pb.ContactDuplicates(hidden_count=found.hidden)
    messages = await contact_messages(call, [one.row for one in found.shown])
    for one, contact in zip(found.shown, messages, strict=True):
        answer.duplicates.add(contact=contact, score=one.score, reasons=_why(one.reasons))
    return answer


@face.read("FindCustomerDuplicates")
async def find_customers(
    request: service_pb.FindCustomerDuplicatesRequest, call: Call
) -> pb.CustomerDuplicates:
    row = await CUSTOMERS.get(call, request.id)
    id: UUID = row["id"]
    traits = customer_traits(row.__getitem__)
    return _customers(
        await customers_like(call.database, call.who, traits, id, request.min_score, request.max_results)
    )


@face.read("CheckCustomerDuplicates")
async def check_customer(
    request: service_pb.CheckCustomerDuplicatesRequest, call: Call
) -> pb.CustomerDuplicates:
    traits = await written_customer_traits(call.database, call.who, request.customer)
    return _customers(
        await customers_like(call.database, call.who, traits, None, request.min_score, request.max_results)
    )


@face.read("FindContactDuplicates")
async def find_contacts(request: service_pb.FindContactDuplicatesRequest, call: Call) -> pb.ContactDuplicates:
    row = await CONTACTS.get(call, request.id)
    traits = contact_traits(row.__getitem__)
    found = await contacts_like(
        call.database, call.who, traits, row["id"], request.min_score, request.max_results
    )
    return await _contacts(call, found)


@face.read("CheckContactDuplicates")
async def check_contact(
    request: service_pb.CheckContactDuplicatesRequest, call: Call
) -> pb.ContactDuplicates:
    traits = await written_contact_traits(call.database, call.who, request.contact)
    found = await contacts_like(call.database, call.who, traits, None, request.min_score, request.max_results)
    return await _contacts(call, found)


# ---- the rule


@face.read("GetDuplicateRule")
async def get_rule(request: service_pb.GetDuplicateRuleRequest, call: Call) -> pb.DuplicateRule:
    return await rule_now(call, _RULE, _ROW, DuplicateRule(id=rule_id(call.who.tenant_id)))


@face.write("UpdateDuplicateRule")
async def update_rule(request: service_pb.UpdateDuplicateRuleRequest, tx: Transaction) -> pb.DuplicateRule:
    rule = await change_rule(tx, _RULE.values(request.rule, request.update_mask), request.rule.etag)
    await tx.session.flush()
    return rule_message(_RULE, rule)
