"""RelationService."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import relation_pb2 as pb
from kehu.customers.v1 import relation_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid, NotFound
from chassis.ids import parse_id
from chassis.mapping import to_money, to_timestamp
from chassis.money import Money
from chassis.principal import NOBODY, Act
from chassis.records import etag
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from customers.customer import SHARES
from customers.group import MEMBERS, SUMS
from customers.relation import Related, annotate, end, relate, related
from customers.rpc.customers import CUSTOMERS
from customers.rpc.messages import customer_card
from customers.rpc.pages import all_of, page_of
from customers.rpc.values import put_known

face = Face("kehu.customers.v1.RelationService")
_MOST_MEMBERS = 200

_ROW = (
    "SELECT r.id, r.version, r.created_at, r.created_by, r.updated_at, r.updated_by, r.type, r.from_customer_id AS first,"
    " r.to_customer_id AS second, r.notes, 2 AS place FROM customer_relations r WHERE r.deleted_at IS NULL AND "
)
_PARENT = (
    "SELECT c.id, c.version, NULL::timestamptz, NULL::uuid, NULL::timestamptz, NULL::uuid, 'PARENT', c.parent_customer_id, c.id,"
    " '', {place} FROM customers c WHERE c.deleted_at IS NULL AND c.parent_customer_id IS NOT NULL AND "
)
_CARD = ("id", "display_name", "external_key", "kind", "owner_id", "team_id")
_ENDS = ", ".join(f"f.{name} AS first_{name}, t.{name} AS second_{name}" for name in _CARD)
# Both ends must be seen: {both} is the rule over each of them.
_SHOWN = (
    f"SELECT r.*, {_ENDS} FROM r JOIN customers f ON f.id = r.first AND f.deleted_at IS NULL"  # noqa: S608 (constants)
    " JOIN customers t ON t.id = r.second AND t.deleted_at IS NULL WHERE {both}"
)
_ONE = f"WITH r AS ({_ROW} r.id = $1 UNION ALL {_PARENT.replace('{place}', '0')} c.id = $1) {_SHOWN}"
_OF_CUSTOMER = (
    f"WITH r AS ({_ROW} r.from_customer_id = $1 UNION ALL {_ROW} r.to_customer_id = $1"
    f" UNION ALL {_PARENT.replace('{place}', '0')} c.id = $1"
    f" UNION ALL {_PARENT.replace('{place}', '1')} c.parent_customer_id = $1) {_SHOWN}"
    " AND (r.place, r.id) > ($2, $3) ORDER BY r.place, r.id LIMIT $4"
)


def _both(call: Call, first: int) -> tuple[str, list[object]]:
    rule, values = visible_text(
        call.who, "customers", Act.READ, "owner_id", "team_id", first=first, shares=SHARES
    )
    return f"{rule} AND {rule.replace('t.', 'f.')}", values


def relation_message(row: Any) -> pb.CustomerRelation:
    """A row of this file's queries."""
    message = pb.CustomerRelation(
        id=str(row["id"]), etag=etag(row["version"]), type=pb.RelationType.Value(f"RELATION_TYPE_{row['type']}"),
        from_customer_id=str(row["first"]), to_customer_id=str(row["second"]), notes=row["notes"],
        from_customer=customer_card({name: row[f"first_{name}"] for name in _CARD}),
        to_customer=customer_card({name: row[f"second_{name}"] for name in _CARD}),
    )  # fmt: skip
    if row["created_at"] is not None:
        _stamp(message, row["created_at"], row["created_by"], row["updated_at"], row["updated_by"])
    return message


def _stamp(message: Any, created_at: Any, created_by: UUID, updated_at: Any, updated_by: UUID) -> None:
    to_timestamp(message.create_time, created_at)
    to_timestamp(message.update_time, updated_at)
    message.creator_id = "" if created_by == NOBODY else str(created_by)
    message.updater_id = "" if updated_by == NOBODY else str(updated_by)


async def _answer(tx: Transaction, found: Related) -> pb.CustomerRelation:
    await tx.session.flush()
    row = found.row
    message = pb.CustomerRelation(
        id=str(row.id if row else found.second.id), etag=etag((row or found.second).version),
        type=pb.RelationType.Value(f"RELATION_TYPE_{row.type if row else 'PARENT'}"),
        from_customer_id=str(found.first.id), to_customer_id=str(found.second.id), notes=row.notes if row else "",
        from_customer=customer_card(vars(found.first)), to_customer=customer_card(vars(found.second)),
    )  # fmt: skip
    if row is not None:
        _stamp(message, row.created_at, row.created_by, row.updated_at, row.updated_by)
    return message


def every_relation(call: Call, customer_id: UUID) -> AsyncGenerator[list[Any]]:
    """All rows of the relations of a customer, parent and children first, of which the caller sees both ends."""
    both, values = _both(call, 5)
    sql = _OF_CUSTOMER.replace("{both}", both)
    return all_of(call, customer_id, sql, [-1, UUID(int=0)], lambda row: [row["place"], row["id"]], values)


async def relations_of(call: Call, customer_id: UUID, most: int) -> list[pb.CustomerRelation]:
    """The first relations of a customer but those of parent and child, for its facet."""
    both, values = _both(call, 5)
    sql = _OF_CUSTOMER.replace("{both}", both)
    rows = await call.database.read(call.who, sql, customer_id, 2, UUID(int=0), most, *values)
    return [relation_message(row) for row in rows]


@face.read("GetCustomerRelation")
async def get_relation(request: service_pb.GetCustomerRelationRequest, call: Call) -> pb.CustomerRelation:
    id = parse_id(request.id, "id")
    both, values = _both(call, 2)
    rows = await call.database.read(call.who, _ONE.replace("{both}", both), id, *values)
    if not rows:
        raise NotFound("relation", id)
    return relation_message(rows[0])


_ENDS_OF = (
    "SELECT FROM customer_relations r JOIN customers f ON f.id = r.from_customer_id JOIN customers t ON t.id = r.to_customer_id"
    " WHERE r.id = $1 AND {both}"
)


async def check_history(call: Call, id: UUID) -> None:
    """Raises NotFound for whoever may not see both customers of a relation. It and they may be deleted."""
    both, values = _both(call, 2)
    if not await call.database.read(call.who, _ENDS_OF.replace("{both}", both), id, *values):
        raise NotFound("relation", id)


@face.read("ListCustomerRelations")
async def list_relations(
    request: service_pb.ListCustomerRelationsRequest, call: Call
) -> service_pb.ListCustomerRelationsResponse:
    customer = await CUSTOMERS.get(call, request.customer_id, "customerId")
    both, values = _both(call, 5)
    rows, token = await page_of(
        call, request, customer["id"], _OF_CUSTOMER.replace("{both}", both), [-1, UUID(int=0)],
        lambda row: [row["place"], str(row["id"])], lambda place: [place[0], UUID(place[1])], more=values,
    )  # fmt: skip
    return service_pb.ListCustomerRelationsResponse(
        relations=[relation_message(row) for row in rows], next_page_token=token
    )


@face.write("CreateCustomerRelation")
async def create(request: service_pb.CreateCustomerRelationRequest, tx: Transaction) -> pb.CustomerRelation:
    asked = request.relation
    type = pb.RelationType.Name(asked.type).removeprefix("RELATION_TYPE_")
    first = parse_id(asked.from_customer_id, "relation.fromCustomerId")
    second = parse_id(asked.to_customer_id, "relation.toCustomerId")
    return await _answer(tx, await relate(tx, type, first, second, asked.notes.strip()))


async def _found(tx: Transaction, id: str, expected: str, field: str) -> Related:
    found = await related(tx, parse_id(id, field))
    tx.check_etag(found.row or found.second, expected)
    return found


@face.write("UpdateCustomerRelation")
async def update(request: service_pb.UpdateCustomerRelationRequest, tx: Transaction) -> pb.CustomerRelation:
    paths = list(request.update_mask.paths)
    wrong = [path for path in paths if path not in ("notes", "*")]
    if wrong:
        raise Invalid(f"updateMask.{wrong[0]}", "cannot be changed here", reason="FIELD_NOT_WRITABLE")
    found = await _found(tx, request.relation.id, request.relation.etag, "relation.id")
    notes = request.relation.notes.strip()
    annotate(tx, found, notes if paths or notes else None)
    return await _answer(tx, found)


@face.write("DeleteCustomerRelation")
async def delete(request: service_pb.DeleteCustomerRelationRequest, tx: Transaction) -> Empty:
    await end(tx, await _found(tx, request.id, request.etag, "id"))
    return Empty()


@face.read("GetCustomerGroup")
async def get_group(request: service_pb.GetCustomerGroupRequest, call: Call) -> pb.CustomerGroup:
    customer = await CUSTOMERS.get(call, request.customer_id, "customerId")
    id, most = customer["id"], request.max_members or _MOST_MEMBERS
    rule, values = visible_text(
        call.who, "customers", Act.READ, "owner_id", "team_id", first=2, shares=SHARES
    )
    sums = (await call.database.read(call.who, SUMS.replace("{rule}", rule), id, *values))[0]
    rule, values = visible_text(
        call.who, "customers", Act.READ, "owner_id", "team_id", first=3, shares=SHARES
    )
    members = await call.database.read(call.who, MEMBERS.replace("{rule}", rule), id, most, *values)
    group = pb.CustomerGroup(
        customer=customer_card(customer), customer_count=sums["customers"], contact_count=sums["contacts"],
        order_count=sums["orders"], cut_off_count=members[0]["all_of_them"] - len(members) if members else 0,
    )  # fmt: skip
    for amount in sums["amounts"]:
        currency = amount["currency"]
        out = group.amounts.add(currency_code=currency, order_count=amount["order_count"])
        to_money(out.revenue, Money(amount["revenue"], currency))
        to_money(out.potential, Money(amount["potential"], currency))
        put_known(out, amount, "margin", "costed_revenue")
    for row in members:
        group.members.add(
            customer=customer_card(row), parent_customer_id=str(row["parent_customer_id"]), depth=row["depth"],
            contact_count=row["contact_count"], order_count=row["order_count"],
        )  # fmt: skip
    return group
