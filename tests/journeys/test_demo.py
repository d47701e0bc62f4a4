"""The demonstration company: what is loaded adds up with the files to the row and to the cent."""

import csv
import json
import subprocess
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx

from kehu_local import demo
from kehu_local.suite import Suite

ORDERS = 150


def _founded(suite: Suite, tenant: str) -> dict[str, str]:
    """A tenant of its own, so that the other tests keep theirs; the sign-in of its administrator."""
    part = suite.services["identity"].process
    asked = ["first-admin", "--tenant", tenant, "--email", "boss@shop.example", "--keep-password"]
    done = subprocess.run(
        [*part.command, *asked], env=part.environment, capture_output=True, text=True, check=True, timeout=60
    )
    return {"tenant": tenant, "email": "boss@shop.example", "password": json.loads(done.stdout)["password"]}


def _total(path: str, column: str, stage: str) -> tuple[int, Decimal]:
    with (demo.PIPELINE / path).open(encoding="utf-8", newline="") as file:
        values = [Decimal(row[column]) for row in csv.DictReader(file) if row["deal_stage"] == stage]
    return len(values), sum(values, Decimal(0))


def _money(amounts: list[dict[str, Any]]) -> Decimal:
    (one,) = amounts
    assert one["currencyCode"] == "USD"
    return Decimal(one["units"]) + Decimal(one.get("nanos", 0)) / 10**9


def test_the_demonstration_company_adds_up(suite: Suite, eventually: Callable[..., Any]) -> None:
    boss = _founded(suite, "hardware")
    loaded = demo.load(suite.base_url, **boss, most_orders=ORDERS)
    assert (loaded.rows, loaded.imported, loaded.refused) == (8800, 7375, 1425)
    assert loaded.refused_reasons == {"customer: Customer is required": 1425}
    assert (loaded.customers, loaded.people, loaded.orders, loaded.leads) == (85, 41, ORDERS, 40)
    with (demo.PIPELINE / "sales_pipeline.csv").open(encoding="utf-8", newline="") as file:
        misspelt = [row for row in csv.DictReader(file) if row["product"] == "GTXPro" and row["account"]]
    assert loaded.repaired == len(misspelt)

    api = demo.Api(suite.base_url, **boss)
    repaired = list(
        api.all(
            "/v1/opportunities", "opportunities", filter=f'externalKey = "{misspelt[0]["opportunity_id"]}"'
        )
    )
    assert [deal["productName"] for deal in repaired] == ["GTX Pro"]
    won, worth = _total("sales_pipeline.csv", "close_value", "Won")

    def counted() -> Any:
        """The report, once it has heard of every deal and order."""
        report = api.ask("GET", "/v1/reports/pipelineFunnel")["total"]
        sold = api.ask("GET", "/v1/reports/salesByPersonAndMonth")["total"]
        done = report.get("opportunityCount") == loaded.imported and sold.get("orderCount") == ORDERS
        return done and (report, sold)

    report, sold = eventually(counted)
    assert (report["wonCount"], _money(report["wonAmounts"])) == (won, worth)
    assert report["lostCount"] == _total("sales_pipeline.csv", "close_value", "Lost")[0]
    orders = list(api.all("/v1/orders", "orders"))
    assert _money(sold["orderTotals"]) == sum(_money([order["total"]]) for order in orders)
    deals = {
        deal["id"]: deal for deal in api.all("/v1/opportunities", "opportunities", filter='status = "WON"')
    }
    for order in orders:
        deal = deals[order["opportunityId"]]
        assert order["status"] == "ORDER_STATUS_PLACED" and order["orderDate"] == deal["closeDate"]
        assert (order["total"], order["ownerId"]) == (deal["amount"], deal["ownerId"])

    # The people can work: a salesperson sees their own deals, the manager the team's, and nobody another team's.
    seen: dict[str, set[str]] = {}
    for what, email, password in loaded.sign_ins:
        person = demo.Api(suite.base_url, "hardware", email, password)
        seen[what.split()[0]] = {deal["id"] for deal in person.all("/v1/opportunities", "opportunities")}
    assert seen["Salesperson"] < seen["Manager"] and len(seen["Manager"]) < loaded.imported
    refused = httpx.post(f"{suite.base_url}/v1/sessions:signIn", json={**boss, "tenant": "demo"})
    assert refused.status_code == 401
