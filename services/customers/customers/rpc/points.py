"""PointsService."""

from datetime import date
from typing import Any
from uuid import UUID

from kehu.customers.v1 import points_pb2 as pb
from kehu.customers.v1 import points_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.ids import parse_id
from chassis.mapping import to_money, to_timestamp
from chassis.money import Money
from chassis.principal import NOBODY
from chassis.rpc import Call, Face
from customers.points.ledger import ACCOUNTS
from customers.points.redemption import adjust_points, redeem_points
from customers.rpc.membership import CARDS
from customers.rpc.pages import page_of

face = Face("kehu.customers.v1.PointsService")
_ACCOUNTS = {
    "issued": pb.POINTS_ACCOUNT_ISSUED, "member": pb.POINTS_ACCOUNT_MEMBER, "redeemed": pb.POINTS_ACCOUNT_REDEEMED,
    "expired": pb.POINTS_ACCOUNT_EXPIRED, "adjusted": pb.POINTS_ACCOUNT_ADJUSTED, "owing": pb.POINTS_ACCOUNT_OWED,
}  # fmt: skip
TRANSACTIONS = (
    "SELECT * FROM points_transactions WHERE card_id = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3"
)
LOTS = (
    "SELECT id, remaining, points, expire_date, created_at FROM points_lots WHERE card_id = $1 AND remaining > 0"
    " AND (coalesce(expire_date, 'infinity'::date), id) > (coalesce($2::date, 'infinity'::date), $3::uuid)"
    " ORDER BY coalesce(expire_date, 'infinity'::date), id LIMIT $4"
)

NEWEST: list[Any] = [2**63 - 1]
FIRST_LOT: list[Any] = [date.min, UUID(int=0)]
"""The places before the first of each."""


def _day(target: Any, day: date) -> None:
    target.year, target.month, target.day = day.year, day.month, day.day


def transaction_message(row: Any) -> pb.PointsTransaction:
    """A posting; `row` is a Posting or a row of the read path."""
    read: Any = row.__getitem__ if hasattr(row, "keys") else row.__getattribute__
    message = pb.PointsTransaction(
        id=str(read("id")), card_id=str(read("card_id")), sequence=read("sequence"),
        kind=pb.PointsTransactionKind.Value(f"POINTS_TRANSACTION_KIND_{read('kind')}"), points=read("member"),
        balance=read("balance"), owed=read("owed"), order_id=str(read("order_id") or ""), order_number=read("order_number"),
        reason=read("reason"), creator_id="" if read("created_by") == NOBODY else str(read("created_by")),
        entries=[
            pb.PointsEntry(account=_ACCOUNTS[name], points=read(name)) for name in ACCOUNTS if read(name)
        ],
    )  # fmt: skip
    if read("value") is not None:
        to_money(message.value, Money(read("value"), read("value_currency")))
    if read("expire_date") is not None:
        _day(message.expire_date, read("expire_date"))
    to_timestamp(message.create_time, read("created_at"))
    return message


@face.write("RedeemPoints")
async def redeem(request: service_pb.RedeemPointsRequest, tx: Transaction) -> pb.PointsTransaction:
    order_id = parse_id(request.order_id, "orderId") if request.order_id else None
    card_id = parse_id(request.id, "id")
    return transaction_message(
        await redeem_points(tx, card_id, request.points, request.reason.strip(), order_id)
    )


@face.write("AdjustPoints")
async def adjust(request: service_pb.AdjustPointsRequest, tx: Transaction) -> pb.PointsTransaction:
    card_id = parse_id(request.id, "id")
    return transaction_message(await adjust_points(tx, card_id, request.points, request.reason.strip()))


@face.read("ListPointsTransactions")
async def list_transactions(
    request: service_pb.ListPointsTransactionsRequest, call: Call
) -> service_pb.ListPointsTransactionsResponse:
    card = await CARDS.get(call, request.card_id, "cardId")
    rows, token = await page_of(
        call, request, card["id"], TRANSACTIONS, NEWEST, lambda row: [row["sequence"]]
    )
    return service_pb.ListPointsTransactionsResponse(
        transactions=[transaction_message(row) for row in rows], next_page_token=token
    )


def _lot_place(row: Any) -> list[Any]:
    return [row["expire_date"] and row["expire_date"].isoformat(), str(row["id"])]


def _lot_read(place: list[Any]) -> list[Any]:
    return [place[0] and date.fromisoformat(place[0]), UUID(place[1])]


@face.read("ListPointsLots")
async def list_lots(
    request: service_pb.ListPointsLotsRequest, call: Call
) -> service_pb.ListPointsLotsResponse:
    card = await CARDS.get(call, request.card_id, "cardId")
    rows, token = await page_of(call, request, card["id"], LOTS, FIRST_LOT, _lot_place, _lot_read)
    answer = service_pb.ListPointsLotsResponse(next_page_token=token)
    for row in rows:
        lot = answer.lots.add(id=str(row["id"]), points=row["remaining"], original_points=row["points"])
        if row["expire_date"] is not None:
            _day(lot.expire_date, row["expire_date"])
        to_timestamp(lot.create_time, row["created_at"])
    return answer
