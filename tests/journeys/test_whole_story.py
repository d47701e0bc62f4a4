"""The whole story through HTTP, with real processes: a list is imported, a lead becomes a customer with an opportunity, the
opportunity an order, the order reaches an ERP that is killed in the middle, the customer complains; the 360° view and the five
reports show all of it.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kehu_local.suite import Suite

PROGRAM = Path(__file__).parents[2] / "examples" / "erp_consumer" / "erp_consumer.py"
LIST = """姓名,公司,手机,邮箱,来源
赵敏,大连机床集团,13911110001,zhao@dmtg.example,展会
钱多,青岛海尔股份有限公司,13911110002,qian@haier.example,网站
,,13911110003,,广告
"""


class Erp:
    """The example program as a process, and its books."""

    def __init__(self, environment: dict[str, str], books: Path) -> None:
        self.environment = {**environment, "ERP_BOOKS": str(books)}
        self.books = books
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(PROGRAM)], env=self.environment)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def booked(self) -> dict[str, tuple[str, str, int]]:
        """Number, total and whether it was delivered, by order."""
        if not self.books.exists() or not self.books.stat().st_size:  # not opened yet, or empty
            return {}
        with sqlite3.connect(f"file:{self.books}?mode=ro", uri=True) as books:
            rows = books.execute("SELECT id, number, total, delivered FROM orders").fetchall()
        return {id: (number, total, delivered) for id, number, total, delivered in rows}


@contextmanager
def erp(suite: Suite, boss: Any, books: Path) -> Generator[Erp]:
    """The ERP with a key that may do nothing but orders."""
    rights = [{"resource": "RIGHT_RESOURCE_ORDERS", "read": "REACH_ALL", "write": "REACH_ALL"}]
    role = boss.post("/v1/roles", {"name": "ERP", "rights": rights})
    person = boss.post(
        "/v1/people", {"email": "erp@demo.example", "displayName": "ERP", "roleIds": [role["id"]]}
    )
    key = boss.post("/v1/apiKeys", {"name": "ERP", "personId": person["person"]["id"]})
    access = suite.erps["demo"]
    environment = {
        "PATH": os.environ["PATH"],
        "NATS_URL": access.url,
        "NATS_CONSUMER": access.consumer,
        "KEHU_URL": suite.base_url,
        "KEHU_API_KEY": key["secret"],
    }
    program = Erp(environment, books)
    try:
        yield program
    finally:
        program.kill()


def test_the_whole_story(
    suite: Suite, boss: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any], tmp_path: Path
) -> None:
    boss.sign_in()
    seller = colleague("Member")
    product = boss.post(
        "/v1/products",
        {
            "name": "Lathe",
            "listPrice": {"currencyCode": "CNY", "units": "1999", "nanos": 990_000_000},
            "taxPercent": "13",
            "standardCost": {"currencyCode": "CNY", "units": "1200"},
        },
    )["id"]

    # A list becomes leads; the row without a name is refused.
    upload = {"file": ("展会.csv", LIST.encode("gb18030"), "text/csv")}
    made = seller.ask("POST", "/v1/leads/imports", data={"recordType": "lead"}, files=upload)
    seller.post(f"/v1/leads/imports/{made['id']}:start")
    done = eventually(
        lambda: (
            (i := seller.get(f"/v1/leads/imports/{made['id']}"))["state"] == "IMPORT_STATE_SUCCEEDED" and i
        )
    )
    assert (done["createdRows"], done["refusedRows"]) == (2, 1)

    # One is converted, with an opportunity.
    lead = seller.get("/v1/leads", params={"query": "zhaomin"})["leads"][0]
    activity = seller.post(
        "/v1/activities",
        {
            "subject": "拜访",
            "kind": "ACTIVITY_KIND_VISIT",
            "leadId": lead["id"],
            "dueTime": "2026-11-01T09:00:00Z",
        },
    )
    asked = {"opportunity": {"name": "数控车床", "amount": {"currencyCode": "CNY", "units": "6000"}}}
    conversion = seller.post(f"/v1/leads/{lead['id']}:convert", asked, key="story-convert")
    assert conversion["state"] == "CONVERSION_STATE_SUCCEEDED", conversion
    customer, opportunity = conversion["customerId"], conversion["opportunityId"]
    eventually(lambda: seller.get(f"/v1/activities/{activity['id']}").get("customerId") == customer)
    seller.post(f"/v1/activities/{activity['id']}:complete", {"result": "要报价"})

    # Others bid as well, one of them under another name by now.
    rival = seller.post("/v1/competitors", {"displayName": "沈阳机床"})["id"]
    bids = {"competitorIds": [rival]}
    seller.ask("PATCH", f"/v1/opportunities/{opportunity}", json=bids)
    missed = seller.post("/v1/opportunities", {"name": "磨床", "customerId": customer, **bids})["id"]
    seller.ask("PATCH", f"/v1/competitors/{rival}", json={"displayName": "通用沈机"})
    eventually(lambda: seller.get(f"/v1/opportunities/{opportunity}").get("competitorNames") == ["通用沈机"])

    # It is won, and becomes orders. The ERP is killed twice while they come, once before it has seen any.
    seller.post(f"/v1/opportunities/{opportunity}:win")
    seller.post(f"/v1/opportunities/{missed}:lose", {"reason": "LOSS_REASON_PRICE", "competitorId": rival})
    period = {"firstDay.year": 2020, "firstDay.month": 1, "firstDay.day": 1}
    against = seller.get(f"/v1/competitors/{rival}/winLoss", params=period)
    assert (against["displayName"], against["winRate"]) == ("通用沈机", 50)
    assert (against["wonCount"], against["lostToCount"]) == (1, 1)
    assert against["amounts"][0]["won"] == {"currencyCode": "CNY", "units": "6000"}
    assert rival in {
        one["competitorId"]
        for one in boss.get("/v1/opportunities:winLoss", params=period).get("competitors", [])
    }
    seller.post(f"/v1/opportunities/{missed}:reopen")
    seller.ask("DELETE", f"/v1/opportunities/{missed}")
    placed: dict[str, dict[str, Any]] = {}

    def place(number: int) -> None:
        for _ in range(number):
            order = seller.post(
                "/v1/orders",
                {
                    "customerId": customer,
                    "opportunityId": opportunity,
                    "lines": [{"productId": product, "quantity": "1.5", "discountPercent": "2.5"}],
                },
            )
            placed[order["id"]] = seller.post(f"/v1/orders/{order['id']}:place")

    with erp(suite, boss, tmp_path / "books.sqlite") as program:
        program.start()
        program.kill()
        place(5)
        program.start()
        eventually(lambda: len(placed.keys() & program.booked().keys()) >= 2)
        program.kill()
        place(5)
        program.start()
        eventually(lambda: all(program.booked().get(id, ("", "", 0))[2] for id in placed))
        booked = program.booked()
    for id, order in placed.items():
        total = order["total"]
        amount = f"{int(total['units'])}.{total.get('nanos', 0):09d}"
        assert booked[id] == (order["number"], amount, 1)
        delivered = seller.get(f"/v1/orders/{id}")
        assert delivered["status"] == "ORDER_STATUS_DELIVERED" and len(delivered["deliveries"]) == 1
    # Net 1999.99 x 1.5 x 97.5 % = 2924.985375, in cents half up; tax 13 % of that, likewise.
    assert {(o["subtotal"]["units"], o["subtotal"]["nanos"]) for o in placed.values()} == {
        ("2924", 990_000_000)
    }
    assert {(o["taxTotal"]["units"], o["taxTotal"]["nanos"]) for o in placed.values()} == {
        ("380", 250_000_000)
    }

    # The customer complains; the view shows all of it.
    ticket = seller.post("/v1/tickets", {"subject": "主轴异响", "customerId": customer})
    seller.post(f"/v1/tickets/{ticket['id']}:resolve", {"resolution": "已更换"})

    def whole() -> Any:
        view = seller.get(f"/v1/customers/{customer}:view360")
        touched = view["customer"].keys() >= {"lastContactTime", "lastDealTime", "lastServiceTime"}
        return touched and view

    view = eventually(whole)
    assert not {part["section"] for part in view["missing"]} & suite.services.keys(), view["missing"]
    sections = view["sections"]
    assert [one["id"] for one in sections["leads"]["leads"]] == [lead["id"]]
    assert [one["displayName"] for one in sections["customers"]["contacts"]] == ["赵敏"]
    assert [one["id"] for one in sections["sales"]["opportunities"]] == [opportunity]
    assert {one["id"] for one in sections["sales"]["orders"]} == placed.keys()
    assert [one["id"] for one in sections["sales"]["activities"]] == [activity["id"]]
    assert sections["sales"]["orderTotals"] == [
        {"currencyCode": "CNY", "units": "33052", "nanos": 400_000_000}
    ]
    assert [one["id"] for one in sections["servicedesk"]["tickets"]] == [ticket["id"]]

    # Ten times 2924.99 less 1.5 x 1200 remain; what the product costs from now on changes nothing of it.
    dearer = {"standardCost": {"currencyCode": "CNY", "units": "1900"}}
    boss.ask("PATCH", f"/v1/products/{product}", json=dearer)

    def worth() -> Any:
        (amount,) = seller.get(f"/v1/customers/{customer}/value").get("amounts", [{}])
        return amount.get("orderCount") == 10 and amount

    earned = eventually(worth)
    assert earned["margin"] == {"currencyCode": "CNY", "units": "11249", "nanos": 900_000_000}
    assert earned["marginCoverage"] == 100
    assert seller.get(f"/v1/orders/{next(iter(placed))}")["costTotal"]["units"] == "1800"

    # The seller's own reports tell the same story to the cent; test_reports compares everybody's.
    ended = seller.get(f"/v1/tickets/{ticket['id']}")["updateTime"]
    last = max(seller.get(f"/v1/orders/{id}")["updateTime"] for id in placed)

    def counted() -> bool:
        freshness = boss.get("/v1/reports/freshness")
        times = {domain["domain"]: domain.get("lastEventTime", "") for domain in freshness["domains"]}
        return freshness.get("caughtUp", False) and times["sales"] >= last and times["servicedesk"] >= ended

    boss.sign_in()
    eventually(counted)
    me = boss.get("/v1/people", params={"query": seller.email})["people"][0]["id"]
    own = {"ownerId": me}
    sources = boss.get("/v1/reports/leadsBySource", params=own)["rows"]
    assert sum(row["leadCount"] for row in sources) == 2
    assert sum(row.get("convertedCount", 0) for row in sources) == 1
    funnel = boss.get("/v1/reports/pipelineFunnel", params=own)["total"]
    assert funnel["wonCount"] == 1 and funnel["wonAmounts"] == [{"currencyCode": "CNY", "units": "6000"}]
    sold = boss.get("/v1/reports/salesByPersonAndMonth", params=own)["total"]
    assert sold["orderCount"] == 10 and sold["orderTotals"] == sections["sales"]["orderTotals"]
    row = next(
        row
        for row in boss.get("/v1/reports/ordersByProduct", params=own)["rows"]
        if row["productId"] == product
    )
    assert row["quantity"] == "15" and row["amounts"] == [
        {"currencyCode": "CNY", "units": "29249", "nanos": 900_000_000}
    ]
    tickets = boss.get("/v1/reports/ticketsByStatusAndAge", params=own)["total"]
    assert (tickets["ticketCount"], tickets["resolvedCount"]) == (1, 1)
