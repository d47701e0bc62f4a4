"""Competitors that opportunities name: who may be named, what they are called, and what was won against them."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.customers.v1 import events_pb2 as customers
from kehu.history.v1 import history_pb2
from kehu.sales.v1 import opportunity_pb2, opportunity_service_pb2
from sqlalchemy import text

from chassis.errors import Code, Denied, Unavailable
from chassis.ids import new_id
from chassis.principal import Reach, Rights
from chassis.testing import EVERYTHING, Asking, Watched, read_of, refused, somebody
from sales.competition import WIN_LOSS, WIN_LOSS_OF_ONE
from sales.opportunity import Opportunity
from sales.rpc.opportunities import OPPORTUNITIES

pytestmark = pytest.mark.asyncio(loop_scope="module")
START = datetime(2026, 1, 1, tzinfo=UTC)


def renamed(id: str, name: str) -> customers.CompetitorUpdated:
    snapshot = customers.CompetitorSnapshot(display_name=name)
    return customers.CompetitorUpdated(competitor_id=id, competitor=snapshot, changed_fields=["displayName"])


async def verb(sales: Any, name: str, id: str, who: Any = None, **fields: Any) -> opportunity_pb2.Opportunity:
    request = getattr(opportunity_service_pb2, f"{name}OpportunityRequest")(id=id, **fields)
    return await sales.ask(f"OpportunityService/{name}Opportunity", request, opportunity_pb2.Opportunity, who)


async def change(
    sales: Any, id: str, *mask: str, by: Any = None, **fields: Any
) -> opportunity_pb2.Opportunity:
    request = opportunity_service_pb2.UpdateOpportunityRequest(
        opportunity=opportunity_pb2.Opportunity(id=id, **fields), update_mask=FieldMask(paths=mask)
    )
    return await sales.ask("OpportunityService/UpdateOpportunity", request, opportunity_pb2.Opportunity, by)


async def win_loss(sales: Any, id: str, who: Any = None, **period: Any) -> Any:
    request = opportunity_service_pb2.GetCompetitorWinLossRequest(competitor_id=id, **period)
    answer = opportunity_service_pb2.CompetitorWinLoss
    return await sales.ask("OpportunityService/GetCompetitorWinLoss", request, answer, who)


async def reported(sales: Any, who: Any = None, **period: Any) -> dict[str, Any]:
    request = opportunity_service_pb2.ReportWinLossRequest(**period)
    answer = opportunity_service_pb2.ReportWinLossResponse
    told = await sales.ask("OpportunityService/ReportWinLoss", request, answer, who)
    return {one.display_name: one for one in told.competitors}


async def filtered(sales: Any, filter: str) -> list[str]:
    request = opportunity_service_pb2.ListOpportunitiesRequest(filter=filter, order_by="name")
    answer = opportunity_service_pb2.ListOpportunitiesResponse
    return [
        one.name
        for one in (await sales.ask("OpportunityService/ListOpportunities", request, answer)).opportunities
    ]


async def test_who_bids_and_who_got_it(sales: Any) -> None:
    kingdee, sap, oracle = (sales.names.competitor(name) for name in ("金蝶", "SAP", "Oracle"))
    named = {"competitor_ids": [kingdee, sap, kingdee]}
    deal = await sales.opportunity("Bid for", **named)
    assert (list(deal.competitor_ids), list(deal.competitor_names)) == ([kingdee, sap], ["金蝶", "SAP"])
    assert (await sales.told(deal.id))[-1]["opportunity"]["competitorIds"] == [kingdee, sap]
    unknown = str(new_id())
    for wrong, reason in (
        (sales.opportunity("x", competitor_ids=[unknown]), "COMPETITOR_NOT_FOUND"),
        (sales.opportunity("x", competitor_ids=["SAP"]), "INVALID_FIELD"),
        (sales.opportunity("x", competitor_ids=[str(new_id()) for _ in range(21)]), "INVALID_FIELD"),
        (sales.opportunity("x", competitor_ids=[sap], lost_to_competitor_id=sap), "OPPORTUNITY_NOT_LOST"),
        (change(sales, deal.id, "competitor_ids", competitor_ids=[unknown]), "COMPETITOR_NOT_FOUND"),
        (change(sales, deal.id, "lost_to_competitor_id", lost_to_competitor_id=sap), "OPPORTUNITY_NOT_LOST"),
        (change(sales, deal.id, "competitor_names"), "FIELD_NOT_WRITABLE"),
        (verb(sales, "Lose", deal.id, reason=2, competitor_id=unknown), "COMPETITOR_NOT_FOUND"),
    ):
        await refused(Code.INVALID_ARGUMENT, reason, wrong)
    assert await sales.opportunity_now(deal.id) == deal

    lost = await verb(sales, "Lose", deal.id, reason=2, competitor_id=oracle)
    assert (list(lost.competitor_names), lost.lost_to_competitor_id) == (["金蝶", "SAP", "Oracle"], oracle)
    assert (await sales.told(deal.id))[-1]["opportunity"]["lostToCompetitorId"] == oracle
    # It is learnt later who has bid, and who got it; which must be one of them.
    now = await change(sales, deal.id, "lost_to_competitor_id", lost_to_competitor_id=sap)
    assert now.lost_to_competitor_id == sap
    for wrong in (
        change(sales, deal.id, "lost_to_competitor_id", lost_to_competitor_id=unknown),
        change(sales, deal.id, "competitor_ids", competitor_ids=[kingdee]),
    ):
        await refused(Code.INVALID_ARGUMENT, "COMPETITOR_NOT_NAMED", wrong)
    now = await change(sales, deal.id, "competitor_ids", competitor_ids=[sap, kingdee])
    assert list(now.competitor_names) == ["SAP", "金蝶"]
    request = history_pb2.ListChangesRequest(record_type="opportunity", record_id=deal.id)
    answer = history_pb2.ListChangesResponse
    (latest, *_) = (await sales.ask("HistoryService/ListChanges", request, answer)).changes
    assert {field.field for field in latest.fields} == {"competitorIds"}

    # A new name is shown, whichever telling of it comes last; and it is no change of the opportunity.
    for version, name in ((3, "SAP SE"), (2, "SAP AG"), (3, "SAP SE")):
        await sales.hear(renamed(sap, name), version=version)
    shown = await sales.opportunity_now(deal.id)
    assert (list(shown.competitor_names), shown.etag) == (["SAP SE", "金蝶"], now.etag)
    # One that was deleted stays named, and is named no more anew.
    sales.names.competitors[:] = [one for one in sales.names.competitors if one.id != sap]
    kept = await change(sales, deal.id, "competitor_ids", competitor_ids=[kingdee, sap])
    assert list(kept.competitor_names) == ["金蝶", "SAP SE"]
    await refused(Code.INVALID_ARGUMENT, "COMPETITOR_NOT_FOUND", sales.opportunity("x", competitor_ids=[sap]))
    told = await win_loss(sales, sap)
    assert (told.display_name, told.lost_to_count) == ("SAP SE", 1), "what was lost to it was lost to it"
    assert await filtered(sales, f'competitorIds:"{sap}"') == ["Bid for"]
    assert await filtered(sales, f'lostToCompetitorId = "{sap}" AND competitorIds:"{oracle}"') == []
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", filtered(sales, 'competitorIds:"SAP"'))
    reopened = await verb(sales, "Reopen", deal.id)
    assert not reopened.lost_to_competitor_id and list(reopened.competitor_ids) == [kingdee, sap]


async def test_what_was_won_against_a_competitor_and_lost_to_it(sales: Any) -> None:
    team, mine = new_id(), somebody(sales.boss.tenant)
    ours = somebody(sales.boss.tenant, rights={**EVERYTHING, "opportunities": Rights(Reach.OWN, Reach.OWN)})
    ours = replace(ours, team_id=team, team_ids=frozenset([team]))
    one, other = sales.names.competitor("Won and lost"), sales.names.competitor("Another")
    both = [one, other]

    async def made(name: str, units: int, who: Any, currency: str = "CNY", **fields: Any) -> str:
        amount = Money(currency_code=currency, units=units) if units else None
        fields.setdefault("competitor_ids", both)
        return (await sales.opportunity(name, who, amount=amount, **fields)).id

    may, june = Date(year=2026, month=5, day=31), Date(year=2026, month=6, day=1)
    await verb(sales, "Win", await made("a", 100, mine), mine, close_date=may)
    await verb(sales, "Win", await made("b", 20, mine, "USD"), mine, close_date=june)
    await verb(sales, "Win", await made("c", 0, mine), mine, close_date=june)
    lost = await made("d", 300, ours)
    await verb(sales, "Lose", lost, ours, close_date=june, reason=2, competitor_id=one)
    await verb(sales, "Lose", await made("e", 50, mine), mine, close_date=june, reason=3)
    await verb(sales, "Lose", await made("f", 7, mine), mine, close_date=june, reason=2, competitor_id=other)
    await made("g", 11, mine)
    await made("of the other alone", 1000, mine, competitor_ids=[other])
    gone = await made("deleted", 5, mine)
    delete = opportunity_service_pb2.DeleteOpportunityRequest(id=gone)
    await sales.ask("OpportunityService/DeleteOpportunity", delete, Empty)

    told = await win_loss(sales, one)
    counts = ("open_count", "won_count", "lost_count", "lost_to_count")
    assert [getattr(told, name) for name in counts] == [1, 3, 3, 1]
    assert (told.display_name, told.win_rate) == ("Won and lost", 75.0)
    yuan, dollars = told.amounts
    assert [getattr(yuan, name).units for name in ("open", "won", "lost", "lost_to")] == [11, 100, 357, 300]
    assert (dollars.currency_code, dollars.won.units, dollars.lost.units) == ("USD", 20, 0)
    only_june = await win_loss(sales, one, first_day=june, last_day=june)
    assert (only_june.won_count, only_june.lost_to_count, only_june.win_rate) == (2, 1, 66.7)
    before = await win_loss(sales, one, last_day=Date(year=2026, month=1, day=1))
    assert (before.display_name, before.open_count) == ("Won and lost", 1) and not before.HasField("win_rate")
    assert [amount.currency_code for amount in before.amounts] == ["CNY"], "nothing of dollars is in it"
    await refused(Code.INVALID_ARGUMENT, "PERIOD_INVALID", win_loss(sales, one, first_day=june, last_day=may))
    # Whoever reads few opportunities counts few; another company has none of them.
    theirs = await win_loss(sales, one, ours)
    assert [getattr(theirs, name) for name in counts] == [0, 0, 1, 1] and theirs.win_rate == 0
    stranger = win_loss(sales, one, somebody(f"o{uuid4().hex[:8]}"))
    await refused(Code.NOT_FOUND, "NOT_FOUND", stranger)
    # A manager counts those of the team, whoever may read the competitor among competitors.
    lead = replace(
        somebody(sales.boss.tenant, rights={"opportunities": Rights(Reach.TEAM, Reach.TEAM)}),
        team_ids=frozenset([team]),
    )
    assert [getattr(await win_loss(sales, one, lead), name) for name in counts] == [0, 0, 1, 1]
    assert (await reported(sales, lead)).keys() == {"Won and lost", "Another"}
    # In a period with nothing in it there are those against which something is open, and no others.
    none = await reported(sales, first_day=Date(year=2099, month=1, day=1))
    assert none["Won and lost"].open_count == 1 and "Another" in none
    assert "Won and lost" not in await reported(sales, ours, first_day=Date(year=2099, month=1, day=1))
    blind = somebody(sales.boss.tenant, rights={"customers": Rights(Reach.ALL, Reach.ALL)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", win_loss(sales, one, blind))
    whole = await reported(sales)
    assert whole["Won and lost"] == told and whole["Another"].lost_to_count == 1
    assert (await reported(sales, ours)).keys() == {"Won and lost", "Another"}
    assert await reported(sales, somebody(f"o{uuid4().hex[:8]}")) == {}


async def test_a_name_that_comes_late_is_not_the_newer_one(sales: Any) -> None:
    id = sales.names.competitor("Former name")
    card = sales.names.competitors[-1]
    # Customers is asked, the new name is heard, and only then is the opportunity written.
    await sales.hear(renamed(id, "New name"), version=2)
    deal = await sales.opportunity("deal", competitor_ids=[id])
    assert list(deal.competitor_names) == ["New name"]
    # A name whose telling was missed is there as soon as anybody names the competitor again.
    card.display_name, card.record_version = "Newest name", 3
    await sales.opportunity("other deal", competitor_ids=[id])
    assert list((await sales.opportunity_now(deal.id)).competitor_names) == ["Newest name"]
    request = opportunity_service_pb2.ListOpportunitiesRequest(filter=f'competitorIds:"{id}"')
    answer = opportunity_service_pb2.ListOpportunitiesResponse
    listed = await sales.ask("OpportunityService/ListOpportunities", request, answer)
    assert [list(one.competitor_names) for one in listed.opportunities] == [["Newest name"]] * 2


async def test_nobody_is_asked_for_those_that_are_named_already(sales: Any) -> None:
    one, other = sales.names.competitor("Named"), sales.names.competitor("Named later")
    deal = await sales.opportunity("deal", competitor_ids=[one])
    sales.names.refusing = Unavailable("customers")
    del sales.names.asked[:]
    try:
        # As a client sends back what it has read, with another note; and without what it does not change.
        kept = await change(sales, deal.id, competitor_ids=[one], notes="noted")
        kept = await change(sales, deal.id, "notes", competitor_ids=[other], notes="noted again")
        assert kept.notes == "noted again" and list(kept.competitor_ids) == [one]
        assert (await win_loss(sales, one)).open_count == 1
        lost = await verb(sales, "Lose", deal.id, reason=2, competitor_id=one)
        assert lost.lost_to_competitor_id == one and not sales.names.asked
        await refused(
            Code.UNAVAILABLE, "MODULE_UNAVAILABLE", change(sales, deal.id, competitor_ids=[one, other])
        )
        assert sales.names.asked[-1] == [other]
        # Who may read no customers reads no competitors: for them there is none.
        sales.names.refusing = Denied("no", reason="RIGHT_MISSING")
        naming = change(sales, deal.id, competitor_ids=[one, other])
        await refused(Code.INVALID_ARGUMENT, "COMPETITOR_NOT_FOUND", naming)
    finally:
        sales.names.refusing = None
    full = await sales.opportunity(
        "many bid", competitor_ids=[sales.names.competitor(f"c{n}") for n in range(20)]
    )
    await refused(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", verb(sales, "Lose", full.id, reason=2, competitor_id=one)
    )


async def test_replicas_of_the_version_before_write_beside(sales: Any) -> None:
    one = sales.names.competitor("Kept")
    deal = await sales.opportunity("deal", competitor_ids=[one])
    await verb(sales, "Lose", deal.id, reason=2, competitor_id=one)
    async with sales.harness.running.database.transaction(sales.boss) as tx:
        # What they set when they open it again.
        await tx.session.execute(
            text("UPDATE opportunities SET status = 'OPEN', close_date = NULL, loss_reason = '' WHERE id = CAST(:id AS uuid)"),
            {"id": deal.id},
        )  # fmt: skip
    now = await sales.opportunity_now(deal.id)
    assert not now.lost_to_competitor_id and list(now.competitor_names) == ["Kept"]
    lost = await verb(sales, "Lose", deal.id, reason=2)
    assert not lost.lost_to_competitor_id and (await win_loss(sales, one)).lost_to_count == 0


async def test_what_is_counted_is_found_by_indexes(sales: Any) -> None:
    """Of 4,000 opportunities two name the competitor, 210 have another one each, and all were closed in May."""
    who = somebody(f"o{uuid4().hex[:8]}")
    one, others = new_id(), [new_id() for _ in range(210)]

    def made(ids: list[UUID], day: date) -> Opportunity:
        return Opportunity(
            name="deal", customer_id=new_id(), stage_id=new_id(), stage_name="s", stage_position=0, stage_enter_time=START,
            status="WON", close_date=day, competitor_ids=ids,
        )  # fmt: skip

    rows = [made([], date(2026, 5, 1)) for _ in range(3788)]
    rows += [made([id], date(2026, 5, 2)) for id in others] + [
        made([one], date(2026, 6, 1)) for _ in range(2)
    ]
    database = sales.harness.running.database
    async with database.transaction(who) as tx:
        await tx.insert_all(rows)
    owner = await asyncpg.connect(sales.urls.owner)
    await owner.execute("ANALYZE opportunities, opportunity_competitors")
    await owner.close()

    asking = Asking(who, Watched(database))
    june = date(2026, 6, 1), date(2026, 6, 30)
    sql = WIN_LOSS_OF_ONE.replace("{rule}", "true")
    (row,) = await asking.database.read(who, sql, None, None, one)
    assert row["won_count"] == 2
    (row,) = await asking.database.read(who, WIN_LOSS.replace("{rule}", "true"), *june)
    assert row["id"] == one
    request = opportunity_service_pb2.ListOpportunitiesRequest(filter=f'competitorIds:"{one}"')
    assert len((await OPPORTUNITIES.page(asking, request)).rows) == 2  # pyright: ignore[reportArgumentType]
    for plan in asking.database.plans:
        assert read_of(plan) < 20, json.dumps(plan, indent=1)
    # The report has the 200 against which most was decided.
    answer = opportunity_service_pb2.ReportWinLossResponse
    request = opportunity_service_pb2.ReportWinLossRequest()
    told = (await sales.ask("OpportunityService/ReportWinLoss", request, answer, who)).competitors
    assert len(told) == 200 and (told[0].competitor_id, told[0].won_count) == (str(one), 2)
    async with database.transaction(who) as tx:
        await tx.session.execute(text("DELETE FROM opportunities"))
        (left,) = await tx.session.execute(text("SELECT count(*) FROM opportunity_competitors"))
    assert left[0] == 0
