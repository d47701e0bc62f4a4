"""The demonstration company: what is loaded adds up with the files to the row and to the cent, and is loaded once."""

import csv
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from kehu_local import demo
from kehu_local.suite import Suite
from proof.company import claims_of
from proof.found import rows

EVERY = 8
"""Which rows of the pipeline are loaded: all 8,800, and what their events set off, would keep two processors busy for minutes."""
ORDERS = 150
"""Of the deals that were won; what is true of the earliest is true of all."""


def _rows(path: str) -> list[demo.Row]:
    with (demo.PIPELINE / path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _total(rows: list[demo.Row]) -> Decimal:
    return sum((Decimal(row["close_value"]) for row in rows), Decimal(0))


def _money(amounts: list[dict[str, Any]]) -> Decimal:
    (one,) = amounts
    assert one["currencyCode"] == "USD"
    return demo.amount(one)


def told(deal: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """What Kehu says of a deal, as the file says it."""
    status = deal["status"].removeprefix("OPPORTUNITY_STATUS_").capitalize()
    day = deal.get("closeDate") or deal.get("expectedCloseDate")
    return {
        "customer": deal["customerName"], "product": deal["productName"], "owner": names[deal["ownerId"]],
        "stage": deal["stageName"] if status == "Open" else status, "engaged": _day(deal.get("engageDate")),
        "closed": _day(day), "value": _money([deal["amount"]]) if deal.get("amount") else None,
    }  # fmt: skip


def written(row: demo.Row) -> dict[str, Any]:
    """What the file says of a deal, but for the product that it spells in two ways."""
    return {
        "customer": row["account"], "product": row["product"].replace("GTXPro", "GTX Pro"), "owner": row["sales_agent"],
        "stage": row["deal_stage"], "engaged": _iso(row["engage_date"]), "closed": _iso(row["close_date"]),
        "value": Decimal(row["close_value"]) if row["close_value"] else None,
    }  # fmt: skip


def _day(day: dict[str, int] | None) -> str:
    return f"{day['year']}-{day['month']:02}-{day['day']:02}" if day else ""


def _iso(day: str) -> str:
    """The file writes days first."""
    return "-".join(reversed(day.split("-")))


@pytest.mark.timeout(540)
def test_the_demonstration_company_adds_up(
    suite: Suite, founded: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    founder = founded("hardware")
    boss = {"tenant": "hardware", "email": founder.email, "password": founder.password}
    # Cut off at the first orders, and gone on with.
    before = demo.load(suite.base_url, **boss, every=EVERY, most_orders=20)
    loaded = demo.load(suite.base_url, **boss, every=EVERY, most_orders=ORDERS)
    assert (before.orders, loaded.orders, loaded.made) == (20, ORDERS, ORDERS - 20)
    again = demo.load(suite.base_url, **boss, every=EVERY, most_orders=ORDERS)
    assert again.made == 0 and not any(password for _, _, password in again.sign_ins)

    pipeline = _rows("sales_pipeline.csv")[::EVERY]
    kept = [row for row in pipeline if row["account"]]
    won = [row for row in pipeline if row["deal_stage"] == "Won"]
    misspelt = [row for row in kept if row["product"] == "GTXPro"]
    nowhere = sum(row["product"] == "GTXPro" and not row["account"] for row in pipeline)
    for one in (before, loaded, again):
        assert (one.rows, one.imported, one.refused) == (1100, len(kept), len(pipeline) - len(kept))
        taken = "product: 'GTXPro' was taken for 'GTX Pro'"
        assert one.noted == {
            ("refused", "customer: Customer is required"): len(pipeline) - len(kept) - nowhere,
            ("refused", f"customer: Customer is required; {taken}"): nowhere,
            ("repaired", taken): len(misspelt),
        }
        assert (one.customers, one.people, one.products, one.leads) == (85, 41, 7, 40)
        assert (one.repaired, one.won, one.won_amount) == (len(misspelt), len(won), _total(won))
    assert f"{len(kept)} became opportunities" in str(loaded) and "1,100 of 1,100" in str(loaded)

    api = demo.Api(suite.base_url, **boss)
    deals = {deal["externalKey"]: deal for deal in api.all("/v1/opportunities", "opportunities")}
    names = {person["id"]: person["displayName"] for person in api.all("/v1/people", "people")}
    assert deals.keys() == {row["opportunity_id"] for row in kept}
    for row in kept:
        assert told(deals[row["opportunity_id"]], names) == written(row)

    def counted() -> Any:
        """The report, once it has heard of every deal and order."""
        report = api.ask("GET", "/v1/reports/pipelineFunnel")["total"]
        sold = api.ask("GET", "/v1/reports/salesByPersonAndMonth")["total"]
        done = report.get("opportunityCount") == loaded.imported and sold.get("orderCount") == ORDERS
        return done and (report, sold)

    report, sold = eventually(counted)
    # Nobody after this waits until customers has heard of all that, too.
    sold_to = "SELECT count(*) AS many FROM customer_orders WHERE tenant_id = $1"
    tenant = UUID(claims_of(founder)["tid"])
    eventually(lambda: rows(suite, "customers", sold_to, tenant)[0]["many"] == ORDERS, 240)
    assert (report["wonCount"], _money(report["wonAmounts"])) == (len(won), _total(won))
    assert report["lostCount"] == sum(row["deal_stage"] == "Lost" for row in pipeline)
    orders = list(api.all("/v1/orders", "orders"))
    assert len(orders) == ORDERS
    taken = {order["externalKey"] for order in orders}
    of_file = [row for row in won if row["opportunity_id"] in taken]
    assert (
        sorted(_iso(row["close_date"]) for row in of_file)
        == sorted(_iso(row["close_date"]) for row in won)[:ORDERS]
    )
    assert loaded.orders_amount == _total(of_file)
    assert _money(sold["orderTotals"]) == sum(_money([order["total"]]) for order in orders)
    for order in orders:
        deal = deals[order["externalKey"]]
        assert order["status"] == "ORDER_STATUS_PLACED" and order["orderDate"] == deal["closeDate"]
        for name in ("customerId", "ownerId"):
            assert order[name] == deal[name]
        assert (order["opportunityId"], order["total"]) == (deal["id"], deal["amount"])

    # The people can work: a salesperson sees their own deals, a manager those of the team.
    assert len(before.sign_ins) == 3
    teams = {row["sales_agent"]: row["manager"] for row in _rows("sales_teams.csv")}
    for _, email, password in before.sign_ins:
        person = demo.Api(suite.base_url, "hardware", email, password)
        me = person.ask("GET", "/v1/me")["person"]["displayName"]
        seen = {deal["externalKey"] for deal in person.all("/v1/opportunities", "opportunities")}
        assert seen == {
            row["opportunity_id"] for row in kept if me in (row["sales_agent"], teams[row["sales_agent"]])
        }
    refused = httpx.post(f"{suite.base_url}/v1/sessions:signIn", json={**boss, "tenant": "demo"})
    assert refused.status_code == 401
