"""The reports agree with the services to the cent, and still do when the facts are built anew from the events."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from kehu_local.processes import run
from kehu_local.suite import Suite


def _money(amounts: list[dict[str, Any]]) -> Counter[str]:
    """Minor units by currency; all currencies here have two digits."""
    found: Counter[str] = Counter()
    for money in amounts:
        found[money["currencyCode"]] += int(money.get("units", 0)) * 100 + money.get("nanos", 0) // 10_000_000
    return found


def _all(person: Any, path: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = person.get(path, params={"pageSize": 100, "pageToken": token})
        found += page.get(name, [])
        token = page.get("nextPageToken", "")
        if not token:
            return found


def _reports(person: Any) -> dict[str, Any]:
    names = (
        "leadsBySource", "pipelineFunnel", "salesByPersonAndMonth", "ordersByProduct", "ticketsByStatusAndAge",
    )  # fmt: skip
    return {name: person.get(f"/v1/reports/{name}") for name in names}


def _counted(person: Any, newest: dict[str, str]) -> bool:
    """Whether the newest events of those domains are in the facts, and none waits."""
    freshness = person.get("/v1/reports/freshness")
    times = {domain["domain"]: domain.get("lastEventTime") for domain in freshness["domains"]}
    return freshness.get("caughtUp", False) and newest.items() <= times.items()


def test_reports_agree_with_the_services(suite: Suite, boss: Any, eventually: Callable[..., Any]) -> None:
    boss.sign_in()
    customer = boss.post("/v1/customers", {"displayName": "Counted to the cent"})["id"]
    prices = {"Pump": ("CNY", "19", 990_000_000), "Valve": ("USD", "3", 330_000_000)}
    products: dict[str, str] = {}
    for name, (currency, units, nanos) in prices.items():
        price = {"currencyCode": currency, "units": units, "nanos": nanos}
        product = {"name": name, "listPrice": price, "taxPercent": "13"}
        products[name] = boss.post("/v1/products", product)["id"]
    for name, quantity, discount in (("Pump", "3", "7.5"), ("Valve", "0.7", "0"), ("Pump", "1.5", "0")):
        line = {"productId": products[name], "quantity": quantity, "discountPercent": discount}
        order = boss.post("/v1/orders", {"customerId": customer, "lines": [line]})
        boss.post(f"/v1/orders/{order['id']}:place")
    cancelled = {"customerId": customer, "lines": [{"productId": products["Pump"], "quantity": "100"}]}
    order = boss.post("/v1/orders", cancelled)
    boss.post(f"/v1/orders/{order['id']}:place")
    boss.post(f"/v1/orders/{order['id']}:cancel", {"reason": "changed their mind"})
    deal: dict[str, Any] = {}
    for name, minor, verb in (("Won", 1, "win"), ("Lost", 2, "lose"), ("Open", 3, "")):
        amount = {"currencyCode": "CNY", "units": "100", "nanos": minor * 10_000_000}
        body = {"name": name, "customerId": customer, "amount": amount}
        deal = boss.post("/v1/opportunities", body)
        if verb:
            reason = {"reason": "LOSS_REASON_PRICE"} if verb == "lose" else {}
            boss.post(f"/v1/opportunities/{deal['id']}:{verb}", reason)
    lead = boss.post("/v1/leads", {"name": "Somebody", "source": "LEAD_SOURCE_PARTNER"})
    ticket: dict[str, Any] = {}
    for number in range(4):
        ticket = boss.post("/v1/tickets", {"subject": f"Counted {number}", "customerId": customer})
        if number % 2:
            ticket = boss.post(f"/v1/tickets/{ticket['id']}:resolve", {"resolution": "Told"})
    newest = {
        "sales": deal["createTime"],
        "leads": lead["createTime"],
        "servicedesk": ticket["updateTime"],
    }
    eventually(lambda: _counted(boss, newest))
    # The newest event may be counted while an older one of another record is still on its way: only one record's events keep
    # their order. In the end they agree.
    eventually(lambda: _agree(boss))
    reports = _reports(boss)
    _compare(boss, reports)

    part, urls = suite.services["analytics"], suite.databases["analytics"]
    owner = {**part.process.environment, "KEHU_OWNER_DATABASE_URL": urls.owner}
    run(replace(part.process, environment=owner), "rebuild")
    again = _reports(boss)
    assert again == reports


def _agree(boss: Any) -> bool:
    try:
        _compare(boss, _reports(boss))
    except AssertionError:
        return False
    return True


def _compare(boss: Any, reports: dict[str, Any]) -> None:
    orders = [
        order
        for order in _all(boss, "/v1/orders", "orders")
        if order["status"] not in ("ORDER_STATUS_DRAFT", "ORDER_STATUS_CANCELLED")
    ]
    sold = reports["salesByPersonAndMonth"]["total"]
    assert sold["orderCount"] == len(orders)
    assert _money(sold["orderSubtotals"]) == _money([order["subtotal"] for order in orders])
    assert _money(sold["orderTotals"]) == _money([order["total"] for order in orders])

    lines = [line for order in orders for line in order["lines"]]
    bought = {row["productId"]: row for row in reports["ordersByProduct"]["rows"]}
    assert bought.keys() == {line["productId"] for line in lines}
    for id, row in bought.items():
        own = [line for line in lines if line["productId"] == id]
        assert Decimal(row["quantity"]) == sum(Decimal(line["quantity"]) for line in own)
        assert _money(row["amounts"]) == _money([line["amount"] for line in own])
        assert _money(row["taxes"]) == _money([line["tax"] for line in own])

    deals = _all(boss, "/v1/opportunities", "opportunities")
    funnel = reports["pipelineFunnel"]["total"]
    for status in ("open", "won", "lost"):
        own = [deal for deal in deals if deal["status"] == f"OPPORTUNITY_STATUS_{status.upper()}"]
        assert funnel.get(f"{status}Count", 0) == len(own)
        assert _money(funnel[f"{status}Amounts"]) == _money([d["amount"] for d in own if "amount" in d])

    sources = Counter(lead["source"] for lead in _all(boss, "/v1/leads", "leads"))
    assert {row["source"]: row["leadCount"] for row in reports["leadsBySource"]["rows"]} == sources

    tickets = _all(boss, "/v1/tickets", "tickets")
    by_status: Counter[str] = Counter()
    for row in reports["ticketsByStatusAndAge"]["rows"]:
        by_status[row["status"]] += row["ticketCount"]
    assert by_status == Counter(ticket["status"] for ticket in tickets)
    waited = [
        _seconds(ticket["createTime"], ticket["resolveTime"]) for ticket in tickets if "resolveTime" in ticket
    ]
    total = reports["ticketsByStatusAndAge"]["total"]
    assert total["ticketCount"] == len(tickets) and total["resolvedCount"] == len(waited)
    assert abs(int(total.get("averageResolveSeconds", 0)) - sum(waited) / len(waited)) <= 0.5


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
