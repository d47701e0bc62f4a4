"""MergeService."""

from typing import Any
from uuid import UUID

from kehu.customers.v1 import merge_pb2 as pb
from kehu.customers.v1 import merge_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Denied, NotFound
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import Mapping
from chassis.merge_preview import Told, as_it_was, merged_fields, moved_records, tried
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import covers
from chassis.wire import to_dict
from customers.contact import Contact
from customers.customer import Customer
from customers.merging.contacts import merge_contacts
from customers.merging.customers import merge_customers
from customers.merging.fields import CONTACT_FIELDS, CONTACT_TEXTS, CUSTOMER_TEXTS, Choices, choosable
from customers.merging.merge import CUSTOMER, KINDS, STATES, Merge
from customers.merging.preview import brought_along
from customers.merging.undo import may_undo, undo
from customers.rpc.contacts import answer as contact_answer
from customers.rpc.messages import contact_message, customer_message

face = Face("kehu.customers.v1.MergeService")
MERGE = Mapping(pb.Merge, skip=["merged_ids"])
MERGES = Listing(
    Merge,
    "customers",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "kind": Field("kind", Kind.ENUM, values=KINDS, prefix="MERGE_KIND_"),
        "survivorId": Field("survivor_id", Kind.UUID),
        "state": Field("state", Kind.ENUM, values=STATES, prefix="MERGE_STATE_"),
    },
)


def _message(row: Any) -> pb.Merge:
    message = MERGE.message(row)
    ids: list[UUID] = row["merged_ids"] if hasattr(row, "keys") else row.merged_ids
    message.merged_ids.extend(str(id) for id in ids)
    return message


async def _answer(tx: Transaction, merge: Merge) -> pb.Merge:
    await tx.session.flush()
    return _message(merge)


def _asked(
    request: service_pb.MergeCustomersRequest
    | service_pb.MergeContactsRequest
    | service_pb.PreviewMergeCustomersRequest
    | service_pb.PreviewMergeContactsRequest,
) -> tuple[UUID, list[UUID], Choices]:
    ids = [parse_id(id, f"mergedIds[{place}]") for place, id in enumerate(request.merged_ids)]
    choices = {name: parse_id(id, f"fieldChoices.{name}") for name, id in request.field_choices.items()}
    return parse_id(request.id, "id"), ids, choices


@face.write("MergeCustomers")
async def customers(request: service_pb.MergeCustomersRequest, tx: Transaction) -> pb.Merge:
    return await _answer(tx, await merge_customers(tx, *_asked(request), request.etag))


@face.write("MergeContacts")
async def contacts(request: service_pb.MergeContactsRequest, tx: Transaction) -> pb.Merge:
    return await _answer(tx, await merge_contacts(tx, *_asked(request), request.etag))


async def _merged(tx: Transaction, table: type[Customer | Contact], merge: Merge) -> list[Any]:
    """The survivor and those who went, as they are now."""
    ids = [merge.survivor_id, *(UUID(str(id)) for id in merge.merged_ids)]
    return [await tx.session.get(table, (tx.who.tenant_id, id)) for id in ids]


def _before(merge: Merge, rows: list[Any]) -> list[Any]:
    return [as_it_was(row, merge.kept.get(row.record_type, {}).get(str(row.id), {})) for row in rows]


@face.read("PreviewMergeCustomers")
async def preview_customers(
    request: service_pb.PreviewMergeCustomersRequest, call: Call
) -> service_pb.PreviewMergeCustomersResponse:
    async def do(tx: Transaction) -> Merge:
        return await merge_customers(tx, *_asked(request), request.etag)

    async def look(tx: Transaction, merge: Merge) -> service_pb.PreviewMergeCustomersResponse:
        rows = await _merged(tx, Customer, merge)
        moved = moved_records(await brought_along(tx, merge))
        answer = service_pb.PreviewMergeCustomersResponse(customer=customer_message(rows[0]), moved=moved)
        before = [to_dict(customer_message(row)) for row in _before(merge, rows)]
        fields = merged_fields(
            choosable(customers=True), before, to_dict(answer.customer), joined=CUSTOMER_TEXTS
        )
        answer.fields.extend(fields)
        return answer

    return await tried(call, do, look)


@face.read("PreviewMergeContacts")
async def preview_contacts(
    request: service_pb.PreviewMergeContactsRequest, call: Call
) -> service_pb.PreviewMergeContactsResponse:
    async def do(tx: Transaction) -> Merge:
        return await merge_contacts(tx, *_asked(request), request.etag)

    async def look(tx: Transaction, merge: Merge) -> service_pb.PreviewMergeContactsResponse:
        rows = await _merged(tx, Contact, merge)
        moved = moved_records(await brought_along(tx, merge))
        answer = service_pb.PreviewMergeContactsResponse(
            contact=await contact_answer(tx, rows[0]), moved=moved
        )
        there = {one["customer_id"]: one for one in rows[0].affiliations}

        def at_another(row: Told, name: str) -> bool:
            """What it is at its own customer it is there still, if that is not the survivor's."""
            standing = there.get(row["customerId"])
            if standing is None or name not in ("title", "department", "decisionRole"):
                return False
            held: str = standing[CONTACT_FIELDS[name][0]]
            return held == row[name].removeprefix("DECISION_ROLE_")

        after = to_dict(contact_message(rows[0]))
        before = [to_dict(contact_message(row)) for row in _before(merge, rows)]
        fields = merged_fields(
            choosable(customers=False), before, after, joined=CONTACT_TEXTS, elsewhere=at_another
        )
        answer.fields.extend(fields)
        return answer

    return await tried(call, do, look)


@face.read("GetMerge")
async def get_merge(request: service_pb.GetMergeRequest, call: Call) -> pb.Merge:
    return _message(await MERGES.get(call, request.id))


@face.read("ListMerges")
async def list_merges(request: service_pb.ListMergesRequest, call: Call) -> service_pb.ListMergesResponse:
    page = await MERGES.page(call, request)
    return service_pb.ListMergesResponse(
        merges=[_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("UndoMerge")
async def undo_merge(request: service_pb.UndoMergeRequest, tx: Transaction) -> pb.Merge:
    id = parse_id(request.id, "id")
    merge = await tx.find(Merge, id, lock=False)
    if merge is None:
        raise NotFound("merge", id)
    # Its survivor is locked first, for whoever undoes another merge into it changes what this one has kept.
    survivor = await tx.find(Customer if merge.kind == CUSTOMER else Contact, merge.survivor_id)
    merge = await tx.find(Merge, id) or merge
    if not may_undo(merge, survivor, tx):
        if covers(merge, tx.who, "customers", Act.READ):
            raise Denied("You may see this merge but not undo it.", reason="RECORD_READ_ONLY")
        raise NotFound("merge", id)
    tx.check_etag(merge, request.etag)
    await undo(tx, merge)
    return await _answer(tx, merge)
