"""Importing products and opportunities: names for ids, repaired names, ends with dates, refused rows, rights."""

import csv
import io
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import xlsxwriter
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.imports.v1 import imports_pb2 as pb
from kehu.notes.v1 import notes_pb2
from kehu.sales.v1 import activity_pb2, activity_service_pb2, product_pb2, product_service_pb2
from kehu.sales.v1 import opportunity_pb2 as opp
from kehu.sales.v1 import opportunity_service_pb2 as opps

from chassis.errors import Code, Unavailable
from chassis.giving_up import Overtaken
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import EVERYTHING, eventually, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
I = "ImportService/"  # noqa: E741
HEADER = [
    "opportunity_id",
    "sales_agent",
    "product",
    "account",
    "deal_stage",
    "engage_date",
    "close_date",
    "close_value",
]


def text_file(*rows: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def workbook(*rows: list[Any]) -> bytes:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheet = book.add_worksheet("Pipeline")
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    return out.getvalue()


async def taken_in(
    sales: Any, kind: str, filename: str, content: bytes, who: Principal | None = None, request_id: str = ""
) -> pb.Import:
    request = pb.CreateImportRequest(
        record_type=kind, filename=filename, content=content, request_id=request_id
    )
    return await sales.ask(I + "CreateImport", request, pb.Import, who)


async def imported(
    sales: Any, kind: str, filename: str, content: bytes, who: Principal | None = None, **options: Any
) -> pb.Import:
    ready = await taken_in(sales, kind, filename, content, who)
    await sales.ask(I + "StartImport", pb.StartImportRequest(id=ready.id, **options), pb.Import, who)
    return await ended(sales, ready.id, who)


async def ended(sales: Any, id: str, who: Principal | None = None) -> pb.Import:
    done = pb.Import()

    async def over() -> bool:
        nonlocal done
        done = await sales.ask(I + "GetImport", pb.GetImportRequest(id=id), pb.Import, who)
        return done.state not in (pb.IMPORT_STATE_READY, pb.IMPORT_STATE_RUNNING)

    await eventually(over, 30)
    assert done.state == pb.IMPORT_STATE_SUCCEEDED, done
    assert done.total_rows == (
        done.created_rows + done.updated_rows + done.unchanged_rows + done.refused_rows
    )
    return done


async def refused_rows(sales: Any, id: str, who: Principal | None = None) -> dict[int, str]:
    """Row number -> what was wrong."""
    from google.api.httpbody_pb2 import HttpBody

    body = await sales.ask(I + "GetRefusedRows", pb.GetRefusedRowsRequest(id=id), HttpBody, who)
    rows = list(csv.reader(io.StringIO(body.data.decode("utf-8-sig"))))[1:]
    return {int(row[0]): " ".join(row[1:3]) for row in rows}


async def by_key(sales: Any, key: str) -> opp.Opportunity:
    request = opps.ListOpportunitiesRequest(filter=f'externalKey = "{key}"')
    answer = await sales.ask("OpportunityService/ListOpportunities", request, opps.ListOpportunitiesResponse)
    [one] = answer.opportunities
    return one


async def test_a_pipeline_as_it_comes(sales: Any) -> None:
    product = await sales.product("GTX Pro", 4821)
    cancity = sales.names.customer("Cancity")
    moses = sales.names.person("Moses Frase")
    sales.names.person("Twin")
    sales.names.person("Twin")
    sales.names.person("Gone", active=False)
    content = text_file(
        HEADER,
        ["A1", "Moses Frase", "GTXPro", "Cancity", "Won", "2016-10-20", "2017-03-01", "1054"],
        ["A2", "", "GTX Pro", "cancity", "Lost", "2016-10-25", "2017-03-11", "0"],
        ["A3", "Moses Frase", "GTX Pro", "Cancity", "Engaging", "2016-11-01", "", ""],
        ["A4", "Moses Frase", "GTX Pro", "Nowhere", "Won", "2016-11-01", "2017-03-01", "1"],
        ["A5", "Moses Frase", "GTX Pro", "", "Won", "2016-11-01", "2017-03-01", "1"],
        ["A6", "Moses Frase", "GTX Pro", "Cancity", "Dreaming", "", "", ""],
        ["A7", "Twin", "GTX Pro", "Cancity", "Engaging", "", "", ""],
        ["A8", "Gone", "GTX Pro", "Cancity", "Engaging", "", "", ""],
        ["A9", "Moses Frase", "GTX Pro", "Cancity", "Won", "2016-11-01", "2999-01-01", "1"],
        ["A10", "Moses Frase", "GTX Pro", "Cancity", "Won", "soon", "2017-03-01", "-5"],
        ["A1", "Moses Frase", "GTX Pro", "Cancity", "Engaging", "", "", ""],
    )
    ready = await taken_in(sales, "opportunity", "sales_pipeline.csv", content)
    looked = await sales.ask(
        I + "PreviewImport", pb.PreviewImportRequest(id=ready.id), pb.PreviewImportResponse
    )
    for preview in (ready.preview, looked.preview):
        told = {row.row_number: {(p.field, p.reason) for p in row.problems} for row in preview}
        assert told[5] == {("customer", "REFERENCE_NOT_FOUND")}
        assert told[7] == {("stage", "STAGE_NOT_FOUND")}
        assert told[8] == {("owner", "REFERENCE_AMBIGUOUS")} and told[9], "looked for before anything is made"
    done = await imported(sales, "opportunity", "sales_pipeline.csv", content, currency_code="USD")
    assert (done.created_rows, done.refused_rows, done.repaired_rows) == (3, 8, 2), done
    won = await by_key(sales, "A1")
    assert (won.status, won.probability, won.customer_id, won.product_id) == (
        opp.OPPORTUNITY_STATUS_WON, 100, cancity, product.id,
    )  # fmt: skip
    assert (won.owner_id, won.amount) == (str(moses), Money(currency_code="USD", units=1054))
    assert (won.engage_date, won.close_date) == (
        Date(year=2016, month=10, day=20), Date(year=2017, month=3, day=1),
    )  # fmt: skip
    assert (won.name, won.product_name, won.customer_name) == ("Cancity - GTX Pro", "GTX Pro", "Cancity")
    lost = await by_key(sales, "A2")
    assert (lost.status, lost.probability, lost.owner_id) == (
        opp.OPPORTUNITY_STATUS_LOST, 0, str(sales.boss.person_id),
    )  # fmt: skip
    still = await by_key(sales, "A3")
    assert (still.status, still.stage_name, still.HasField("close_date")) == (
        opp.OPPORTUNITY_STATUS_OPEN, "Engaging", False,
    )  # fmt: skip
    assert await sales.outbox(won.id) == ["OpportunityCreated", "OpportunityWon"]
    assert await sales.outbox(still.id) == ["OpportunityCreated"]
    told = await sales.told(won.id)
    assert all(event["opportunity"]["createTime"][:4] >= "2026" for event in told), told
    assert [event["opportunity"]["closeDate"] for event in told] == [{"year": 2017, "month": 3, "day": 1}] * 2
    said = await refused_rows(sales, done.id)
    assert set(said) == {2, 3, *range(5, 13)}
    assert "GTXPro" in said[2] and "cancity" in said[3]
    words = ("Nowhere", "required", "Dreaming", "2 records", "Gone", "yet to come", "soon", "A1")
    for row, word in enumerate(words, 5):
        assert word in said[row], said[row]


async def test_a_file_is_taken_in_while_nobody_knows_what_it_refers_to(sales: Any) -> None:
    content = text_file(["Opportunity", "Customer", "Amount"], ["Unseen", "Whoever", "much"])
    sales.names.away = Unavailable("customers")
    try:
        ready = await taken_in(sales, "opportunity", "away.csv", content)
    finally:
        sales.names.away = None
    assert [problem.field for problem in ready.preview[0].problems] == ["amount"]
    look = pb.PreviewImportRequest(id=ready.id)
    again = await sales.ask(I + "PreviewImport", look, pb.PreviewImportResponse)
    assert {problem.field for problem in again.preview[0].problems} == {"amount", "customer"}


async def test_a_workbook_and_the_same_again(sales: Any) -> None:
    sales.names.customer("Betatech")
    content = workbook(
        ["编号", "客户", "阶段", "金额", "成交日期", "输单原因"],
        ["W1", "Betatech", "赢单", 1234.5, "2017-03-01", ""],
        ["W2", "Betatech", "输单", 10, "2017-03-01", "价格"],
        ["W3", "Betatech", "", 10, "", ""],
    )
    ready = await taken_in(sales, "opportunity", "商机.xlsx", content, request_id="book")
    assert ready.state == pb.IMPORT_STATE_READY and ready.sheets == ["Pipeline"]
    assert (await taken_in(sales, "opportunity", "商机.xlsx", content, request_id="book")).id == ready.id
    other = pb.CreateImportRequest(
        record_type="opportunity", filename="b.csv", content=b"a\nb\n", request_id="book"
    )
    await sales.refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", I + "CreateImport", other, pb.Import)
    start = pb.StartImportRequest(id=ready.id, request_id="start", etag=ready.etag)
    started = await sales.ask(I + "StartImport", start, pb.Import)
    assert await sales.ask(I + "StartImport", start, pb.Import) == started
    stale = pb.StartImportRequest(id=ready.id, etag=ready.etag)
    await sales.refused(Code.ABORTED, "ETAG_MISMATCH", I + "StartImport", stale, pb.Import)
    done = await ended(sales, ready.id)
    assert (done.created_rows, done.refused_rows) == (3, 0)
    again = pb.StartImportRequest(id=ready.id)
    await sales.refused(Code.FAILED_PRECONDITION, "IMPORT_NOT_READY", I + "StartImport", again, pb.Import)
    cancel = pb.CancelImportRequest(id=ready.id)
    await sales.refused(Code.FAILED_PRECONDITION, "IMPORT_ENDED", I + "CancelImport", cancel, pb.Import)
    assert (await by_key(sales, "W1")).amount == Money(currency_code="CNY", units=1234, nanos=500_000_000)
    assert (await by_key(sales, "W2")).loss_reason == opp.LOSS_REASON_PRICE
    assert (await by_key(sales, "W3")).stage_name == "Prospecting"
    twice = await imported(sales, "opportunity", "商机.xlsx", content)
    assert (twice.created_rows, twice.refused_rows) == (0, 3)
    assert all("there already" in said for said in (await refused_rows(sales, twice.id)).values())


async def test_rows_that_change_what_is_there(sales: Any) -> None:
    sales.names.customer("Upsert Ltd")
    first = text_file(
        HEADER,
        ["U1", "", "", "Upsert Ltd", "Engaging", "", "2027-01-31", "100"],
        ["U2", "", "", "Upsert Ltd", "Engaging", "", "", "100"],
        ["U3", "", "", "Upsert Ltd", "Won", "2016-01-01", "2017-01-01", "100"],
    )
    assert (await imported(sales, "opportunity", "a.csv", first)).created_rows == 3
    before = await by_key(sales, "U1")
    second = text_file(
        HEADER,
        ["U1", "", "", "Upsert Ltd", "", "", "", "150"],
        ["U2", "", "", "Upsert Ltd", "Won", "", "2017-05-01", "120"],
        ["U3", "", "", "Upsert Ltd", "Won", "2016-01-01", "2017-01-01", "100"],
        ["U4", "", "", "Upsert Ltd", "Engaging", "", "", ""],
        ["U3", "", "", "Upsert Ltd", "Engaging", "", "", ""],
        ["U3", "", "", "Upsert Ltd", "Won", "", "", "999"],
    )
    done = await imported(sales, "opportunity", "b.csv", second, mode=pb.IMPORT_MODE_UPSERT)
    assert (done.created_rows, done.updated_rows, done.unchanged_rows, done.refused_rows) == (1, 2, 1, 2)
    now = await by_key(sales, "U1")
    assert (now.id, now.amount.units, now.stage_name) == (before.id, 150, "Engaging")
    assert (now.name, now.expected_close_date) == (before.name, Date(year=2027, month=1, day=31))
    won = await by_key(sales, "U2")
    assert (won.status, won.amount.units) == (opp.OPPORTUNITY_STATUS_WON, 120)
    assert won.close_date == Date(year=2017, month=5, day=1)
    assert (await by_key(sales, "U3")).amount.units == 100
    assert await sales.outbox(won.id) == ["OpportunityCreated", "OpportunityUpdated", "OpportunityWon"]


async def test_products(sales: Any) -> None:
    await sales.product("Old one", 10, sku="P-1")
    content = text_file(
        ["product", "series", "sales_price", "sku", "税率"],
        ["GTX Plus", "GTX", "1096", "P-2", "13"],
        ["gtx plus", "GTX", "1", "P-3", ""],
        ["New one", "GTX", "1", "P-1", ""],
        ["Dear", "GTX", "¥ 55,000.10", "", "101"],
        ["MG Special", "MG", "¥ 55,000.10", "", ""],
    )
    done = await imported(sales, "product", "products.csv", content)
    assert (done.created_rows, done.refused_rows) == (2, 3)
    said = await refused_rows(sales, done.id)
    assert set(said) == {3, 4, 5}
    better = text_file(
        ["product", "sku", "price"],
        ["GTX Plus", "P-2", "1100"], ["Older one", "P-1", "10"], ["mg special", "", ""], ["Old one", "P-9", "1"],
    )  # fmt: skip
    done = await imported(sales, "product", "more.csv", better, mode=pb.IMPORT_MODE_UPSERT)
    assert (done.created_rows, done.updated_rows, done.refused_rows) == (1, 3, 0), await refused_rows(sales, done.id)  # fmt: skip
    request = product_service_pb2.ListProductsRequest(filter='sku = "P-2"')
    found = await sales.ask("ProductService/ListProducts", request, product_service_pb2.ListProductsResponse)
    assert [p.list_price for p in found.products] == [Money(currency_code="CNY", units=1100)]
    assert await sales.outbox(found.products[0].id) == ["ProductCreated", "ProductUpdated"]
    assert found.products[0].status == product_pb2.PRODUCT_STATUS_ACTIVE


async def test_who_may_import_what_for_whom(sales: Any) -> None:
    reader = somebody("acme", rights={**EVERYTHING, "products": Rights(Reach.ALL, Reach.NONE)})
    content = text_file(["product"], ["Forbidden"])
    request = pb.CreateImportRequest(record_type="product", filename="a.csv", content=content)
    await sales.refused(
        Code.PERMISSION_DENIED, "RIGHT_MISSING", I + "CreateImport", request, pb.Import, reader
    )
    mine = await taken_in(sales, "product", "a.csv", content)
    start = pb.StartImportRequest(id=mine.id)
    await sales.refused(Code.NOT_FOUND, "NOT_FOUND", I + "StartImport", start, pb.Import, reader)
    stranger = somebody("other")
    await sales.refused(
        Code.NOT_FOUND, "NOT_FOUND", I + "GetImport", pb.GetImportRequest(id=mine.id), pb.Import, stranger
    )
    team = new_id()
    sales.names.customer("Hidden Ltd", owner=new_id())
    seller = somebody(
        "acme",
        team=team,
        rights={"opportunities": Rights(Reach.TEAM, Reach.TEAM), "customers": Rights(Reach.OWN, Reach.OWN)},
    )
    sales.names.customer("Own Ltd", owner=seller.person_id)
    mate = sales.names.person("Team Mate", team)
    other = sales.names.person("Other Team", new_id())
    rows = text_file(
        HEADER,
        ["R1", "Team Mate", "", "Own Ltd", "Engaging", "", "", ""],
        ["R2", "Other Team", "", "Own Ltd", "Engaging", "", "", ""],
        ["R3", "", "", "Hidden Ltd", "Engaging", "", "", ""],
        ["R4", "", "", "Own Ltd", "Engaging", "", "", ""],
    )
    done = await imported(sales, "opportunity", "r.csv", rows, seller, owner_id=str(mate))
    assert (done.created_rows, done.refused_rows) == (2, 2)
    said = await refused_rows(sales, done.id, seller)
    assert "reach" in said[3] and "Hidden Ltd" in said[4]
    for key in ("R1", "R4"):
        given = await by_key(sales, key)
        assert (given.owner_id, given.team_id) == (str(mate), str(team))
    ready = await taken_in(sales, "opportunity", "s.csv", rows, seller)
    for owner, code, reason in (
        (other, Code.PERMISSION_DENIED, "OWNER_OUT_OF_REACH"), (new_id(), Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND"),
    ):  # fmt: skip
        start = pb.StartImportRequest(id=ready.id, owner_id=str(owner))
        await sales.refused(code, reason, I + "StartImport", start, pb.Import, seller)
    none = replace(seller, rights={"opportunities": Rights(Reach.ALL, Reach.NONE)})
    start = pb.StartImportRequest(id=ready.id)
    await sales.refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", I + "StartImport", start, pb.Import, none)


async def test_an_import_is_carried_on_by_the_next_process(sales: Any) -> None:
    """The process that began it has died behind the first batch: the job goes on from there and makes no row twice."""
    sales.names.customer("Many Ltd")
    rows = [[f"M{n}", "", "", "Many Ltd", "Engaging", "", "", "1"] for n in range(1200)]
    ready = await taken_in(sales, "opportunity", "many.csv", text_file(HEADER, *rows))
    database = sales.harness.running.database
    from chassis.imports.runs import Run
    from sales.imports import OPPORTUNITIES

    call = sales.harness.running.call(sales.boss)
    await sales.ask(I + "StartImport", pb.StartImportRequest(id=ready.id), pb.Import)
    # A second worker takes it up at once, as after a lease has ended: one of the two is overtaken, whichever it is.
    from uuid import UUID

    with suppress(Overtaken):
        await Run(
            OPPORTUNITIES, database, sales.boss, UUID(ready.id), lambda who: replace(call, who=who, token="")
        ).carry_on()
    done = await ended(sales, ready.id)
    assert (done.created_rows, done.refused_rows) == (1200, 0)
    counted = await database.read(
        sales.boss, "SELECT count(*) AS n, count(DISTINCT external_key) AS keys FROM opportunities WHERE external_key LIKE 'M%'"
    )  # fmt: skip
    assert (counted[0]["n"], counted[0]["keys"]) == (1200, 1200)


async def undone(sales: Any, id: str) -> pb.Import:
    await sales.ask(I + "UndoImport", pb.UndoImportRequest(id=id), pb.Import)
    done = pb.Import()

    async def over() -> bool:
        nonlocal done
        done = await sales.ask(I + "GetImport", pb.GetImportRequest(id=id), pb.Import)
        return done.state == pb.IMPORT_STATE_UNDONE

    await eventually(over, 30)
    return done


async def test_products_that_are_there_and_products_taken_back(sales: Any) -> None:
    known = await sales.product("Known", 5, sku="K-1")
    head = ["name", "sku", "list_price", "series"]
    rows = [["Known", "K-1", "9", "S"], ["Fresh one", "K-2", "9", ""], ["Sold one", "K-3", "9", ""]]
    skipping = await imported(
        sales, "product", "a.csv", text_file(head, *rows), duplicates=pb.DUPLICATE_POLICY_SKIP
    )
    assert (skipping.created_rows, skipping.skipped_rows) == (2, 1)
    filling = await imported(
        sales, "product", "a.csv", text_file(head, rows[0]), duplicates=pb.DUPLICATE_POLICY_MERGE
    )
    request = product_service_pb2.GetProductRequest(id=known.id)
    product = await sales.ask("ProductService/GetProduct", request, product_pb2.Product)
    assert filling.updated_rows == 1 and (product.list_price.units, product.series) == (5, "S")
    # A cost of 0 is known; one that is unknown is filled, with its currency.
    free = Money(currency_code="CNY")
    priced = ["name", "sku", "standardCost"]
    for sku, cost, expected in (("F-1", free, free), ("F-2", None, Money(currency_code="USD", units=5))):
        made = await sales.product(f"Costs {sku}", 5, sku=sku, standard_cost=cost)
        row = text_file(priced, [made.name, sku, "5 USD"])
        await imported(sales, "product", "a.csv", row, duplicates=pb.DUPLICATE_POLICY_MERGE)
        get = product_service_pb2.GetProductRequest(id=made.id)
        assert (
            await sales.ask("ProductService/GetProduct", get, product_pb2.Product)
        ).standard_cost == expected
    new = await imported(
        sales, "product", "a.csv", text_file(head, ["Nobody", "K-9", "", ""]), mode=pb.IMPORT_MODE_UPDATE
    )
    assert new.refused_rows == 1
    # An update needs the key, and what is to change.
    for head, row in ((["sku", "unit"], ["K-3", "box"]), (["name", "unit"], [known.name, "box"])):
        one = await imported(sales, "product", "a.csv", text_file(head, row), mode=pb.IMPORT_MODE_UPDATE)
        assert one.updated_rows == 1

    listed = await sales.ask(
        "ProductService/ListProducts", product_service_pb2.ListProductsRequest(filter='sku = "K-3"'),
        product_service_pb2.ListProductsResponse,
    )  # fmt: skip
    await sales.opportunity("With a product", product_id=listed.products[0].id)
    described = await imported(sales, "product", "a.csv", text_file(["name"], ["Described"], ["Bare"]))
    asked = product_service_pb2.ListProductsRequest(filter='name = "Described"')
    page = await sales.ask("ProductService/ListProducts", asked, product_service_pb2.ListProductsResponse)
    note = notes_pb2.Note(record_type="product", record_id=page.products[0].id, text="sells well")
    await sales.ask("NoteService/CreateNote", notes_pb2.CreateNoteRequest(note=note), notes_pb2.Note)
    ended = await undone(sales, described.id)
    assert (ended.undone_records, ended.kept_records) == (1, 1)
    ended = await undone(sales, skipping.id)
    assert (ended.undone_records, ended.kept_records) == (1, 1)
    assert (await undone(sales, filling.id)).undone_records == 1
    product = await sales.ask("ProductService/GetProduct", request, product_pb2.Product)
    assert product.series == ""


async def test_opportunities_that_somebody_works_with_stay(sales: Any) -> None:
    rows = [["Noted", "华为", "W-1"], ["Planned", "华为", "W-2"], ["Nothing", "华为", "W-3"]]
    made = await imported(
        sales, "opportunity", "a.csv", text_file(["name", "customer", "externalKey"], *rows)
    )
    noted, planned = await by_key(sales, "W-1"), await by_key(sales, "W-2")
    note = notes_pb2.Note(record_type="opportunity", record_id=noted.id, text="rang")
    await sales.ask("NoteService/CreateNote", notes_pb2.CreateNoteRequest(note=note), notes_pb2.Note)
    activity = activity_pb2.Activity(
        subject="call", kind=activity_pb2.ACTIVITY_KIND_TASK, opportunity_id=planned.id, customer_id=planned.customer_id
    )  # fmt: skip
    activity.due_time.FromSeconds(1_800_000_000)
    request = activity_service_pb2.CreateActivityRequest(activity=activity)
    await sales.ask("ActivityService/CreateActivity", request, activity_pb2.Activity)
    ended = await undone(sales, made.id)
    assert (ended.undone_records, ended.kept_records) == (1, 2)
    assert (await by_key(sales, "W-1")).id == noted.id and (await by_key(sales, "W-2")).id == planned.id


async def test_opportunities_taken_back(sales: Any) -> None:
    head = ["name", "customer", "stage", "amount", "externalKey", "notes"]
    first = await imported(sales, "opportunity", "a.csv", text_file(head, ["One", "华为", "", "", "O-1", ""]))
    await sales.opportunity("Keyed", external_key="O-3")
    keyed = text_file(["externalKey", "notes"], ["O-3", "noted"], ["O-9", "noted"])
    alone = await imported(sales, "opportunity", "a.csv", keyed, mode=pb.IMPORT_MODE_UPDATE)
    assert (alone.updated_rows, alone.refused_rows) == (1, 1)
    await sales.opportunity("Two", external_key="O-2")
    moved = ["Two", "华为", "Won", "7", "O-2", ""]
    noted = ["One", "华为", "", "", "O-1", "noted"]
    second = await imported(
        sales, "opportunity", "a.csv", text_file(head, moved, noted), mode=pb.IMPORT_MODE_UPSERT
    )
    assert second.updated_rows == 2
    ended = await undone(sales, second.id)
    # What has moved through the pipeline is moved back by people, not by a file.
    assert (ended.undone_records, ended.kept_records) == (1, 1)
    # The other import has been at what this one had made: that somebody took it back makes no difference.
    assert (await undone(sales, first.id)).kept_records == 1


async def activities_of(sales: Any, who: Principal, filter: str = "") -> dict[str, activity_pb2.Activity]:
    """By subject."""
    request = activity_service_pb2.ListActivitiesRequest(page_size=100, filter=filter)
    answer = await sales.ask(
        "ActivityService/ListActivities", request, activity_service_pb2.ListActivitiesResponse, who
    )
    return {one.subject: one for one in answer.activities}


async def test_the_history_of_another_system_comes_in(sales: Any) -> None:
    boss = somebody("history")
    acme = sales.names.customer("Acme Pumps")
    sales.names.customers[-1].external_key = "ACC-7"
    sales.names.customer("Other Pumps")
    moses = sales.names.person("Moses of old")
    deal = await sales.opportunity("A big deal", boss, customer_id=acme, external_key="OPP-1")
    await sales.opportunity("Twice", boss, customer_id=acme)
    await sales.opportunity("Twice", boss, customer_id=acme)
    head = [
        "Name",
        "Type",
        "Status",
        "Date Start",
        "Date End",
        "Parent Account",
        "商机",
        "Assigned User",
        "Description",
        "ID",
    ]
    rows = [
        ["First call", "Call", "Held", "2019-03-01 09:30", "2019-03-01 09:45", "ACC-7", "", "Moses of old", "liked it", "C1"],
        ["拜访", "拜访", "已完成", "2020年5月2日 14:00", "", "Acme Pumps", "OPP-1", "", "第一行\n第二行", "C2"],
        ["Past, unsaid", "Meeting", "", "2021-01-01 10:00", "", "", "A big deal", "", "", "C3"],
        ["To come", "", "Planned", "2099-01-01 10:00", "2099-01-01 11:00", "Acme Pumps", "OPP-1", "", "", "C4"],
        ["Not held", "Call", "Not Held", "2019-04-01", "", "Acme Pumps", "", "", "", "C5"],
        ["Only ended", "Email", "", "", "2018-01-01 08:00", "Acme Pumps", "", "", "", ""],
        ["No time", "Call", "Held", "", "", "Acme Pumps", "", "", "", "C6"],
        ["Done tomorrow", "Call", "Held", "2099-01-01", "", "Acme Pumps", "", "", "", "C7"],
        ["Of whom", "Call", "Held", "2019-01-01", "", "Other Pumps", "OPP-1", "", "", "C8"],
        ["Nobody", "Call", "Held", "2019-01-01", "", "ACC-8", "", "", "", "C9"],
        ["Which", "Call", "Held", "2019-01-01", "", "", "Twice", "", "", "C10"],
        ["Dance", "Dance", "Held", "2019-01-01", "", "", "", "", "", "C11"],
        ["Again", "Call", "Held", "2019-01-01", "", "", "", "", "", "C1"],
    ]  # fmt: skip
    ready = await taken_in(sales, "activity", "calls.csv", text_file(head, *rows), boss)
    assert [(one.column, one.field) for one in ready.proposed_mapping] == list(enumerate([
        "subject", "kind", "status", "dueTime", "completeTime", "customer", "opportunity", "owner", "description", "externalKey",
    ]))  # fmt: skip
    run = await imported(sales, "activity", "calls.csv", text_file(head, *rows), boss)
    assert (run.created_rows, run.refused_rows, run.repaired_rows) == (6, 7, 1)
    why = await refused_rows(sales, run.id, boss)
    words = {
        5: "left out", 8: "needs a time", 9: "yet to come", 10: "one of Acme", 11: "ACC-8", 12: "fits 2", 13: "Dance",
        14: "C1 is there",
    }  # fmt: skip
    assert why.keys() == words.keys() and not [row for row, word in words.items() if word not in why[row]], (
        why
    )
    there = await activities_of(sales, boss)
    assert set(there) == {row[0] for row in rows[:6]}
    call, visit, unsaid, planned = (there[row[0]] for row in rows[:4])
    assert (call.kind, call.status) == (
        activity_pb2.ACTIVITY_KIND_CALL,
        activity_pb2.ACTIVITY_STATUS_COMPLETED,
    )
    # 09:30 in China, where the company is.
    assert (call.due_time.ToJsonString(), call.complete_time.ToJsonString()) == (
        "2019-03-01T01:30:00Z",
        "2019-03-01T01:45:00Z",
    )
    assert (call.customer_id, call.customer_name, call.owner_id) == (acme, "Acme Pumps", str(moses))
    assert (call.description, call.external_key, visit.description) == ("liked it", "C1", "第一行\n第二行")
    assert (visit.customer_id, visit.opportunity_id, visit.complete_time) == (acme, deal.id, visit.due_time)
    assert (unsaid.status, unsaid.customer_id) == (activity_pb2.ACTIVITY_STATUS_COMPLETED, acme)
    assert (planned.status, planned.kind, planned.HasField("complete_time")) == (
        activity_pb2.ACTIVITY_STATUS_PLANNED, activity_pb2.ACTIVITY_KIND_TASK, False,
    )  # fmt: skip
    assert there["Not held"].status == activity_pb2.ACTIVITY_STATUS_CANCELLED
    assert there["Only ended"].due_time == there["Only ended"].complete_time
    # It is told once, as what it is, and the opportunity shows what is still to come.
    told = await sales.harness.running.database.read(
        boss, "SELECT record_id::text AS id, type FROM outbox WHERE type LIKE 'kehu.sales.v1.Activity%'"
    )
    kinds = sorted(
        (row["id"], row["type"].rpartition(".")[2].removeprefix("Activity").upper()) for row in told
    )
    statuses = activity_pb2.ActivityStatus
    assert kinds == sorted(
        (one.id, statuses.Name(one.status).removeprefix("ACTIVITY_STATUS_")) for one in there.values()
    )
    assert (await sales.opportunity_now(deal.id, boss)).next_activity_time == planned.due_time
    assert set(await activities_of(sales, boss, 'externalKey = "C1"')) == {"First call"}

    # Once more: corrected where that can be, and nothing twice. What has ended keeps its times.
    skipped = await imported(
        sales, "activity", "calls.csv", text_file(head, *rows[:5]), boss, duplicates=pb.DUPLICATE_POLICY_SKIP
    )
    assert (skipped.created_rows, skipped.skipped_rows) == (0, 5)
    anew = [
        [
            "First call",
            "Call",
            "Held",
            "2019-03-01 09:30",
            "2019-03-01 09:45",
            "ACC-7",
            "",
            "",
            "liked it much",
            "C1",
        ],
        ["拜访 2", "拜访", "已完成", "2020-05-02 14:00", "", "Acme Pumps", "OPP-1", "", "", "C2"],
        ["To come", "Meeting", "Planned", "2099-02-01 10:00", "", "Acme Pumps", "OPP-1", "", "", "C4"],
    ]
    upsert = await imported(
        sales, "activity", "calls.csv", text_file(head, *anew), boss, mode=pb.IMPORT_MODE_UPSERT
    )
    assert (upsert.updated_rows, upsert.refused_rows) == (2, 1)
    there = await activities_of(sales, boss)
    assert there["First call"].description == "liked it much" and "拜访" in there
    assert there["To come"].due_time.ToJsonString() == "2099-02-01T02:00:00Z"

    # Taken back, the last first.
    async def taken_back(id: str) -> pb.Import:
        await sales.ask(I + "UndoImport", pb.UndoImportRequest(id=id), pb.Import, boss)
        found = pb.Import()

        async def over() -> bool:
            nonlocal found
            found = await sales.ask(I + "GetImport", pb.GetImportRequest(id=id), pb.Import, boss)
            return found.state == pb.IMPORT_STATE_UNDONE

        await eventually(over, 30)
        return found

    assert (await taken_back(upsert.id)).undone_records == 2
    assert (await activities_of(sales, boss))["First call"].description == "liked it"
    # What the second import has changed, though it was taken back, is no longer as the first left it.
    ended = await taken_back(run.id)
    assert (ended.undone_records, ended.kept_records) == (4, 2)
    assert set(await activities_of(sales, boss)) == {"First call", "To come"}
    # Who may not change opportunities brings in none, and others see nothing of it.
    reader = replace(boss, rights={"opportunities": Rights(Reach.ALL)})
    await sales.refused(
        Code.PERMISSION_DENIED, "RIGHT_MISSING", I + "CreateImport",
        pb.CreateImportRequest(record_type="activity", filename="a.csv", content=text_file(head, rows[0])), pb.Import, reader,
    )  # fmt: skip


async def test_a_row_says_all_that_becomes_of_a_planned_activity(sales: Any) -> None:
    boss = somebody("moving on")
    anna = sales.names.person("Anna who takes over")
    head = ["Name", "Status", "Date Start", "Date End", "Assigned User", "Result", "ID"]
    planned = [
        [name, "Planned", "2099-01-01 10:00", "", "", "", name]
        for name in ("held", "ended", "called off", "given", "said", "early")
    ]
    coming = ["coming", "", "2099-03-01 10:00", "2099-03-01 11:00", "", "", "coming"]
    waits = ["w" * 230, "Waiting on someone else", "2099-03-01", "", "", "", "waits"]
    first = await imported(sales, "activity", "a.csv", text_file(head, *planned, coming, waits), boss)
    assert (first.created_rows, first.repaired_rows) == (8, 2), await refused_rows(sales, first.id, boss)
    there = await activities_of(sales, boss)
    assert there["coming"].status == there["w" * 200].status == activity_pb2.ACTIVITY_STATUS_PLANNED

    rows = [
        ["held", "Held", "2019-03-01 09:30", "", "", "liked it", "held"],
        ["ended", "", "", "2019-03-02 09:30", "", "", "ended"],
        ["called off", "Not Held", "", "", "", "", "called off"],
        ["given", "", "", "", "Anna who takes over", "", "given"],
        ["said", "", "", "", "", "they wait", "said"],
        ["early", "Held", "", "", "", "", "early"],
    ]
    second = await imported(
        sales, "activity", "a.csv", text_file(head, *rows), boss, mode=pb.IMPORT_MODE_UPSERT
    )
    assert (second.updated_rows, second.refused_rows) == (5, 1)
    assert "yet to come" in (await refused_rows(sales, second.id, boss))[7]
    there = await activities_of(sales, boss)
    held, ended, off, given, said, early = (there[row[0]] for row in rows)
    # When it was, and not when the file came.
    assert (held.status, held.result) == (activity_pb2.ACTIVITY_STATUS_COMPLETED, "liked it")
    assert held.due_time == held.complete_time and held.complete_time.ToJsonString() == "2019-03-01T01:30:00Z"
    assert ended.status == activity_pb2.ACTIVITY_STATUS_COMPLETED
    assert ended.complete_time.ToJsonString() == "2019-03-02T01:30:00Z"
    assert off.status == activity_pb2.ACTIVITY_STATUS_CANCELLED
    assert (given.owner_id, given.status) == (str(anna), activity_pb2.ACTIVITY_STATUS_PLANNED)
    assert (said.result, early.status) == ("they wait", activity_pb2.ACTIVITY_STATUS_PLANNED)

    # Of what has ended the rest stays, and the row says so.
    third = await imported(
        sales, "activity", "a.csv", mode=pb.IMPORT_MODE_UPSERT, who=boss, content=text_file(
            head, ["held", "", "2019-04-01 09:30", "", "Anna who takes over", "", "held"],
            ["called off", "Planned", "", "", "", "", "called off"],
        ),
    )  # fmt: skip
    assert (third.unchanged_rows, third.refused_rows, third.repaired_rows) == (1, 1, 1)
    why = await refused_rows(sales, third.id, boss)
    assert "left out" in why[2] and "CANCELLED" in why[3], why
    # Taken back, what has ended or has another owner stays; a value does not.
    await sales.ask(I + "UndoImport", pb.UndoImportRequest(id=second.id), pb.Import, boss)
    kept: list[str] = []

    async def undone() -> bool:
        now = await sales.ask(I + "GetImport", pb.GetImportRequest(id=second.id), pb.Import, boss)
        kept[:] = [str(now)]
        return now.state == pb.IMPORT_STATE_UNDONE

    await eventually(undone, 30)
    assert "kept_records: 4" in kept[0] and (await activities_of(sales, boss))["said"].result == "", kept
    # A key is given to it later, too.
    asked = activity_service_pb2.UpdateActivityRequest(activity=held)
    asked.activity.external_key = "another"
    asked.update_mask.paths.append("external_key")
    changed = await sales.ask("ActivityService/UpdateActivity", asked, activity_pb2.Activity, boss)
    assert changed.external_key == "another"


async def test_what_is_hidden_is_not_changed_by_its_key_nor_named(sales: Any) -> None:
    boss = somebody("of keys")
    hidden = sales.names.customer("Hidden Pumps", owner=new_id())
    await sales.opportunity("Hidden deal", boss, customer_id=hidden, external_key="HIDDEN-1")
    head = ["Name", "Date", "Account", "商机", "Description", "ID"]
    mine = ["Mine", "2019-01-01", "", "", "before", "KEY-1"]
    await imported(sales, "activity", "a.csv", text_file(head, mine), boss)
    own = Rights(Reach.OWN, Reach.OWN)
    other = replace(
        boss, person_id=new_id(), team_id=None, rights={**boss.rights, "opportunities": own, "customers": own}
    )
    rows = [
        ["Mine", "2019-01-01", "", "", "taken over", "KEY-1"],
        ["To whom", "2019-01-01", "Hidden Pumps", "", "", ""],
        ["By key", "2019-01-01", "", "HIDDEN-1", "", ""],
        ["By name", "2019-01-01", "", "Hidden deal", "", ""],
        ["Mine, too", "2019-01-01", "", "", "", "KEY-2"],
    ]
    upsert = pb.IMPORT_MODE_UPSERT
    run = await imported(sales, "activity", "a.csv", text_file(head, *rows), other, mode=upsert)
    assert (run.created_rows, run.updated_rows, run.refused_rows) == (1, 0, 4)
    assert (await refused_rows(sales, run.id, other)).keys() == {2, 3, 4, 5}
    assert (await activities_of(sales, boss))["Mine"].description == "before"
    # In another company the key is nobody's, and the opportunity is not there.
    away = somebody("elsewhere")
    run = await imported(sales, "activity", "a.csv", text_file(head, rows[0], rows[2]), away, mode=upsert)
    assert (run.created_rows, run.refused_rows) == (1, 1)
    assert (await activities_of(sales, boss))["Mine"].description == "before"
