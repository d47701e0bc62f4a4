"""SegmentService."""

from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import segment_pb2 as pb
from kehu.customers.v1 import segment_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.fields import Field, Kind, Link, Value
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import Mapping
from chassis.owners import Owner, owner_for
from chassis.papers import drop_papers
from chassis.rpc import Call, Face
from customers.customer import Customer
from customers.errors import SegmentRuleBroken
from customers.rpc.customers import CUSTOMERS
from customers.rpc.messages import customer_message
from customers.segments.segment import (
    KINDS,
    RULE,
    Segment,
    SegmentDeleted,
    add_customers,
    change_segment,
    found_segment,
    remove_customers,
    told,
)
from customers.value_lists import FILTERED, VALUE_LISTS

face = Face("kehu.customers.v1.SegmentService")
SEGMENT = Mapping(pb.Segment)
SEGMENTS = Listing(
    Segment,
    "customers",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "displayName": Field("display_name", Kind.TEXT, sortable=True),
        "kind": Field("kind", Kind.ENUM, values=KINDS, prefix="SEGMENT_KIND_"),
    },
    default_order="displayName",
)
MOST_IDS = 5_000
_LINKS = {"segment": Link("segment_customers", "customer_id", "segment_id")}
IN_SEGMENT = Listing(Customer, "customers", CUSTOMERS.fields, search=True, custom_fields=True, links=_LINKS)
_IDS = Listing(
    Customer, "customers", CUSTOMERS.fields, custom_fields=True, links=_LINKS, columns=["id"], most_page=MOST_IDS
)  # fmt: skip


@face.read("GetSegment")
async def get_segment(request: service_pb.GetSegmentRequest, call: Call) -> pb.Segment:
    return SEGMENT.message(await SEGMENTS.get(call, request.id))


@face.read("ListSegments")
async def list_segments(
    request: service_pb.ListSegmentsRequest, call: Call
) -> service_pb.ListSegmentsResponse:
    page = await SEGMENTS.page(call, request)
    return service_pb.ListSegmentsResponse(
        segments=[SEGMENT.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _check_rule(call: Call, filter: str) -> None:
    try:
        await CUSTOMERS.check(call, filter)
    except Invalid as problem:
        raise Invalid("segment.filter", problem.violations[0].description, reason=problem.reason) from None


async def _of_new(request: service_pb.CreateSegmentRequest, call: Call) -> Owner:
    await _check_rule(call, request.segment.filter)
    return await owner_for(call, request.segment.owner_id, "customers", "segment.ownerId")


@face.write("CreateSegment", prepare=_of_new)
async def create(request: service_pb.CreateSegmentRequest, tx: Transaction, owner: Owner) -> pb.Segment:
    id = parse_id(request.segment_id, "segmentId") if request.segment_id else None
    values = SEGMENT.values(request.segment)
    values.pop("owner_id", None)
    await VALUE_LISTS.check_filter(tx, values["filter"], FILTERED, "segment.filter")
    return await _answer(tx, found_segment(tx, values, owner, id))


async def _of_changed(request: service_pb.UpdateSegmentRequest, call: Call) -> None:
    await _check_rule(call, request.segment.filter)


@face.write("UpdateSegment", prepare=_of_changed)
async def update(request: service_pb.UpdateSegmentRequest, tx: Transaction, checked: None) -> pb.Segment:
    segment = await _segment(tx, request.segment.id, request.segment.etag, "segment.id")
    values = SEGMENT.values(request.segment, request.update_mask)
    if values.get("filter", segment.filter).strip() != segment.filter:
        await VALUE_LISTS.check_filter(tx, values["filter"], FILTERED, "segment.filter")
    change_segment(tx, segment, values)
    return await _answer(tx, segment)


@face.write("DeleteSegment")
async def delete(request: service_pb.DeleteSegmentRequest, tx: Transaction) -> Empty:
    segment = await _segment(tx, request.id, request.etag)
    await drop_papers(tx, Segment.record_type, [segment.id])
    tx.delete(segment)
    tx.record(SegmentDeleted(**told(segment)), on=segment)
    return Empty()


@face.write("AddSegmentCustomers")
async def add(request: service_pb.AddSegmentCustomersRequest, tx: Transaction) -> pb.Segment:
    segment = await _segment(tx, request.id, request.etag)
    await add_customers(tx, segment, _ids(request))
    return await _answer(tx, segment)


@face.write("RemoveSegmentCustomers")
async def remove(request: service_pb.RemoveSegmentCustomersRequest, tx: Transaction) -> pb.Segment:
    segment = await _segment(tx, request.id, request.etag)
    await remove_customers(tx, segment, _ids(request))
    return await _answer(tx, segment)


def _ids(request: Any) -> list[UUID]:
    return list(dict.fromkeys(parse_id(id, "customerIds") for id in request.customer_ids))


async def _segment(tx: Transaction, id: str, etag: str, field: str = "id") -> Segment:
    segment = await tx.get(Segment, parse_id(id, field), right="customers")
    tx.check_etag(segment, etag)
    return segment


async def _answer(tx: Transaction, segment: Segment) -> pb.Segment:
    await tx.session.flush()
    return SEGMENT.message(segment)


async def those_of(call: Call, id: str, own: str, field: str = "id") -> tuple[str, dict[str, Value | None]]:
    """The filter and the narrowing by which the customers of a segment are listed, of which `own` chooses some.

    Raises NotFound, SegmentRuleBroken; Invalid for the own filter.
    """
    segment = await SEGMENTS.get(call, id, field)
    own = own.strip()
    if segment["kind"] != RULE:
        return own, {"segment": segment["id"]}
    try:
        await CUSTOMERS.check(call, segment["filter"])
    except Invalid as problem:
        raise SegmentRuleBroken(problem.violations[0].description) from None
    if not own:
        return segment["filter"], {}
    await CUSTOMERS.check(call, own)
    return f"({segment['filter']}) AND ({own})", {}


@face.read("CountSegmentCustomers")
async def count(
    request: service_pb.CountSegmentCustomersRequest, call: Call
) -> service_pb.CountSegmentCustomersResponse:
    filter, where = await those_of(call, request.id, request.filter)
    return service_pb.CountSegmentCustomersResponse(count=await IN_SEGMENT.count(call, filter, where))


@face.read("ListSegmentCustomers")
async def list_customers(
    request: service_pb.ListSegmentCustomersRequest, call: Call
) -> service_pb.ListSegmentCustomersResponse:
    request.filter, where = await those_of(call, request.id, request.filter)
    page = await IN_SEGMENT.page(call, request, where)
    return service_pb.ListSegmentCustomersResponse(
        customers=[customer_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.read("ListSegmentCustomerIds")
async def list_ids(
    request: service_pb.ListSegmentCustomerIdsRequest, call: Call
) -> service_pb.ListSegmentCustomerIdsResponse:
    request.filter, where = await those_of(call, request.id, request.filter)
    page = await _IDS.page(call, request, where)
    return service_pb.ListSegmentCustomerIdsResponse(
        customer_ids=[str(row["id"]) for row in page.rows], next_page_token=page.next_page_token
    )
