"""MembershipService."""

from datetime import date
from typing import Any
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import membership_pb2 as pb
from kehu.customers.v1 import membership_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import Mapping, to_date, to_money, to_value
from chassis.records import etag
from chassis.rpc import Call, Face
from customers.customer import SHARES_OF_CUSTOMER, writable_customer
from customers.points.cards import STATES, Card, block, card_for, give_another_number, issue, renew, unblock
from customers.points.night import await_night
from customers.points.programme import (
    Level,
    Rule,
    arrange_programme,
    levels_of,
    locked_programme,
    programme_id,
    rules_of,
)

face = Face("kehu.customers.v1.MembershipService")
PROGRAMME = Mapping(pb.MembershipProgramme, skip=["levels", "rules"])
CARD = Mapping(pb.MembershipCard)
CARDS = Listing(
    Card,
    "customers",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "number": Field("number", Kind.TEXT, sortable=True),
        "customerId": Field("customer_id", Kind.UUID),
        "state": Field("state", Kind.ENUM, values=STATES, prefix="CARD_STATE_"),
        "levelId": Field("level_id", Kind.UUID, nullable=True),
        "balance": Field("balance", Kind.INTEGER, sortable=True),
        "owed": Field("owed", Kind.INTEGER),
        "expireDate": Field("expire_date", Kind.DATE, nullable=True),
    },
    shares=SHARES_OF_CUSTOMER,
)
_NONE = UUID(int=0)


def _programme(row: Any) -> pb.MembershipProgramme:
    message = PROGRAMME.message(row)
    read: Any = row.__getitem__ if hasattr(row, "keys") else row.__getattribute__
    for level in levels_of(read("levels")):
        message.levels.add(
            id=str(level.id), name_en=level.name_en, name_zh=level.name_zh, threshold=level.threshold
        )
    for rule in rules_of(read("rules")):
        out = message.rules.add(
            id=str(rule.id), name=rule.name, points=rule.points, product_id=str(rule.product_id or ""),
            level_id=str(rule.level_id or ""),
        )  # fmt: skip
        to_money(out.per_amount, rule.per_amount)
        if rule.minimum:
            to_money(out.minimum_amount, type(rule.per_amount)(rule.minimum, rule.per_amount.currency))
        for day, target in ((rule.start_date, "start_date"), (rule.end_date, "end_date")):
            if day is not None:
                whole = getattr(out, target)
                whole.year, whole.month, whole.day = day.year, day.month, day.day
    return message


@face.read("GetMembershipProgramme")
async def get_programme(
    request: service_pb.GetMembershipProgrammeRequest, call: Call
) -> pb.MembershipProgramme:
    id = programme_id(call.who.tenant_id)
    rows = await call.database.read(call.who, "SELECT * FROM membership_programmes WHERE id = $1", id)
    if rows:
        return _programme(rows[0])
    moment = pb.EARN_MOMENT_AT_PAYMENT
    return pb.MembershipProgramme(id=str(id), etag=etag(1), earn_moment=moment)


def _level(level: pb.MemberLevel, place: int) -> Level:
    return Level(
        id=parse_id(level.id, f"programme.levels[{place}].id") if level.id else _NONE,
        name_en=level.name_en.strip(), name_zh=level.name_zh.strip(), threshold=level.threshold,
    )  # fmt: skip


def _day(message: Any, name: str, field: str) -> date | None:
    return to_date(getattr(message, name), field) if message.HasField(name) else None


def _rule(rule: pb.EarningRule, place: int) -> Rule:
    field = f"programme.rules[{place}]"
    per_amount = to_value(rule.per_amount, f"{field}.perAmount")
    minimum = (
        to_value(rule.minimum_amount, f"{field}.minimumAmount") if rule.HasField("minimum_amount") else None
    )
    if minimum is not None and minimum.currency != per_amount.currency:
        raise Invalid(
            f"{field}.minimumAmount",
            f"is in {minimum.currency}, perAmount in {per_amount.currency}",
            reason="CURRENCY_MISMATCH",
        )
    return Rule(
        id=parse_id(rule.id, f"{field}.id") if rule.id else _NONE, name=rule.name.strip(), points=rule.points,
        per_amount=per_amount, product_id=UUID(rule.product_id) if rule.product_id else None,
        level_id=UUID(rule.level_id) if rule.level_id else None, minimum=minimum.minor if minimum else 0,
        start_date=_day(rule, "start_date", f"{field}.startDate"), end_date=_day(rule, "end_date", f"{field}.endDate"),
    )  # fmt: skip


@face.write("UpdateMembershipProgramme")
async def update_programme(
    request: service_pb.UpdateMembershipProgrammeRequest, tx: Transaction
) -> pb.MembershipProgramme:
    asked = request.programme
    named = [path.split(".")[0] for path in request.update_mask.paths]
    rest = [name for name in named if name not in ("levels", "rules")]
    values = PROGRAMME.values(asked, FieldMask(paths=rest)) if rest or not named else {}
    everything = "*" in named
    has_levels = everything or "levels" in named or (not named and bool(asked.levels))
    has_rules = everything or "rules" in named or (not named and bool(asked.rules))
    programme = await locked_programme(tx)
    tx.check_etag(programme, asked.etag)
    await arrange_programme(
        tx,
        programme,
        values,
        [_level(level, place) for place, level in enumerate(asked.levels)] if has_levels else None,
        [_rule(rule, place) for place, rule in enumerate(asked.rules)] if has_rules else None,
    )
    await tx.session.flush()
    return _programme(programme)


async def _card(tx: Transaction, id: str, etag: str) -> Card:
    card = await card_for(tx, parse_id(id, "id"))
    tx.check_etag(card, etag)
    return card


async def _answer(tx: Transaction, card: Card) -> pb.MembershipCard:
    await tx.session.flush()
    return CARD.message(card)


@face.read("GetMembershipCard")
async def get_card(request: service_pb.GetMembershipCardRequest, call: Call) -> pb.MembershipCard:
    return CARD.message(await CARDS.get(call, request.id))


@face.read("ListMembershipCards")
async def list_cards(
    request: service_pb.ListMembershipCardsRequest, call: Call
) -> service_pb.ListMembershipCardsResponse:
    page = await CARDS.page(call, request)
    return service_pb.ListMembershipCardsResponse(
        cards=[CARD.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("CreateMembershipCard")
async def create(request: service_pb.CreateMembershipCardRequest, tx: Transaction) -> pb.MembershipCard:
    customer_id = parse_id(request.card.customer_id, "card.customerId")
    customer = await writable_customer(tx, customer_id, "card.customerId")
    values = CARD.values(request.card)
    id = parse_id(request.card_id, "cardId") if request.card_id else None
    card = await issue(tx, customer, values["number"], values["expire_date"], id)
    await await_night(tx)
    return await _answer(tx, card)


@face.write("BlockMembershipCard")
async def block_card(request: service_pb.BlockMembershipCardRequest, tx: Transaction) -> pb.MembershipCard:
    card = await _card(tx, request.id, request.etag)
    block(tx, card, request.reason.strip())
    return await _answer(tx, card)


@face.write("UnblockMembershipCard")
async def unblock_card(
    request: service_pb.UnblockMembershipCardRequest, tx: Transaction
) -> pb.MembershipCard:
    card = await _card(tx, request.id, request.etag)
    unblock(tx, card)
    return await _answer(tx, card)


@face.write("ReplaceMembershipCard")
async def replace_card(
    request: service_pb.ReplaceMembershipCardRequest, tx: Transaction
) -> pb.MembershipCard:
    card = await _card(tx, request.id, request.etag)
    await give_another_number(tx, card, request.number)
    return await _answer(tx, card)


@face.write("RenewMembershipCard")
async def renew_card(request: service_pb.RenewMembershipCardRequest, tx: Transaction) -> pb.MembershipCard:
    card = await _card(tx, request.id, request.etag)
    renew(tx, card, _day(request, "expire_date", "expireDate"))
    return await _answer(tx, card)
