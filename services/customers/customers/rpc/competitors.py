"""CompetitorService."""

from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import competitor_pb2 as pb
from kehu.customers.v1 import competitor_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import Mapping, to_money, to_value
from chassis.money import Money
from chassis.owners import Owner, owner_for
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from customers.competitor import Competitor, Product, change_competitor, drop_competitor, note_competitor

face = Face("kehu.customers.v1.CompetitorService")
COMPETITOR = Mapping(pb.Competitor, skip=["products"])
COMPETITORS = Listing(
    Competitor,
    "customers",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "displayName": Field("display_name", Kind.TEXT, sortable=True),
        "customerId": Field("customer_id", Kind.UUID, nullable=True),
    },
    default_order="displayName",
    search=True,
)


def _message(row: Any) -> pb.Competitor:
    message = COMPETITOR.message(row)
    products: list[dict[str, Any]] = row["products"] if hasattr(row, "keys") else row.products
    for one in products:
        out = message.products.add(id=one["id"], name=one["name"], notes=one["notes"])
        for name in ("lowest_price", "highest_price"):
            if one[name] is not None:
                to_money(getattr(out, name), Money(one[name], one["currency"]))
    return message


def _products(asked: pb.Competitor) -> list[Product]:
    out: list[Product] = []
    for place, one in enumerate(asked.products):
        field = f"competitor.products[{place}]"
        least = to_value(one.lowest_price, f"{field}.lowestPrice") if one.HasField("lowest_price") else None
        most = to_value(one.highest_price, f"{field}.highestPrice") if one.HasField("highest_price") else None
        id = parse_id(one.id, f"{field}.id") if one.id else None
        out.append(
            Product(
                id=id, name=one.name.strip(), notes=one.notes.strip(), lowest_price=least, highest_price=most
            )
        )  # fmt: skip
    return out


@face.read("GetCompetitor")
async def get_competitor(request: service_pb.GetCompetitorRequest, call: Call) -> pb.Competitor:
    return _message(await COMPETITORS.get(call, request.id))


@face.read("ListCompetitors")
async def list_competitors(
    request: service_pb.ListCompetitorsRequest, call: Call
) -> service_pb.ListCompetitorsResponse:
    page = await COMPETITORS.page(call, request)
    return service_pb.ListCompetitorsResponse(
        competitors=[_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


_CARDS = "SELECT t.id, t.display_name, t.version FROM competitors t WHERE t.deleted_at IS NULL AND t.id = ANY($1::uuid[]) AND "


@face.read("LookUpCompetitors")
async def look_up(
    request: service_pb.LookUpCompetitorsRequest, call: Call
) -> service_pb.LookUpCompetitorsResponse:
    rule, values = visible_text(call.who, "customers", Act.READ, "owner_id", "team_id", first=2)
    ids = [parse_id(id, "ids") for id in request.ids]
    # Composed of the rule of visibility, which has places for its values.
    rows = await call.database.read(call.who, _CARDS + rule + " ORDER BY t.display_name, t.id", ids, *values)
    return service_pb.LookUpCompetitorsResponse(
        competitors=[
            service_pb.CompetitorCard(
                id=str(row["id"]), display_name=row["display_name"], record_version=row["version"]
            )
            for row in rows
        ]
    )


async def _owner_of_new(request: service_pb.CreateCompetitorRequest, call: Call) -> Owner:
    return await owner_for(call, request.competitor.owner_id, "customers", "competitor.ownerId")


@face.write("CreateCompetitor", prepare=_owner_of_new)
async def create(request: service_pb.CreateCompetitorRequest, tx: Transaction, owner: Owner) -> pb.Competitor:
    id = parse_id(request.competitor_id, "competitorId") if request.competitor_id else None
    values = COMPETITOR.values(request.competitor)
    values.pop("owner_id", None)
    return await _answer(tx, await note_competitor(tx, values, _products(request.competitor), owner, id))


@face.write("UpdateCompetitor")
async def update(request: service_pb.UpdateCompetitorRequest, tx: Transaction) -> pb.Competitor:
    asked = request.competitor
    competitor = await _competitor(tx, asked.id, asked.etag, "competitor.id")
    named = {path.split(".")[0] for path in request.update_mask.paths}
    rest = [path for path in request.update_mask.paths if path.split(".")[0] != "products"]
    values = COMPETITOR.values(asked, FieldMask(paths=rest)) if rest or not named else {}
    wanted = "products" in named or "*" in named or (not named and bool(asked.products))
    await change_competitor(tx, competitor, values, _products(asked) if wanted else None)
    return await _answer(tx, competitor)


@face.write("DeleteCompetitor")
async def delete(request: service_pb.DeleteCompetitorRequest, tx: Transaction) -> Empty:
    await drop_competitor(tx, await _competitor(tx, request.id, request.etag))
    return Empty()


async def _competitor(tx: Transaction, id: str, etag: str, field: str = "id") -> Competitor:
    competitor = await tx.get(Competitor, parse_id(id, field), right="customers")
    tx.check_etag(competitor, etag)
    return competitor


async def _answer(tx: Transaction, competitor: Competitor) -> pb.Competitor:
    await tx.session.flush()
    return _message(competitor)
