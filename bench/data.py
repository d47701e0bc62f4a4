"""What is measured on: many customers, a few of them full, and leads that wait for their conversion."""

import asyncio
import time
from typing import Any

from bench.client import Connection

PLACES = (
    "北京",
    "上海",
    "深圳",
    "广州",
    "杭州",
    "成都",
    "武汉",
    "西安",
    "南京",
    "苏州",
    "天津",
    "重庆",
    "长沙",
    "青岛",
    "厦门",
    "大连",
)
SYLLABLES = tuple("华中信达鼎盛恒泰远航明德瑞丰金海云天和创联通科新宏博利安源康")
TRADES = ("科技", "贸易", "电子", "机械", "医药", "食品", "物流", "建材", "化工", "软件", "纺织", "能源")

CONTACTS, OPPORTUNITIES, ORDERS, ACTIVITIES, TICKETS = 5, 10, 20, 30, 10
"""What a full customer has."""


def company(number: int) -> str:
    """A name such as 上海鼎盛科技有限公司; the number tells names apart that would be the same."""
    name = PLACES[number % 16] + SYLLABLES[number // 16 % 30] + SYLLABLES[number // 480 % 30]
    return f"{name}{TRADES[number // 14_400 % 12]}有限公司 {number}"


SEATS = {
    "recordType": "customer", "key": "seats", "labelZh": "席位", "labelEn": "Seats",
    "kind": "CUSTOM_FIELD_KIND_NUMBER", "filterable": True,
}  # fmt: skip
"""A custom field that customers may have: 0 to 99, as many customers have each."""


def seats(number: int) -> int:
    """The value of the custom field `SEATS` of the customer with that number."""
    return number % 100


def customers_file(rows: int, first: int = 0, with_seats: bool = False) -> bytes:
    """A CSV of companies, numbered from `first`; with values of the custom field `SEATS` if so said."""
    lines = [
        f"{company(n)},{'ABC'[n % 3]},138{n:08d},{TRADES[n % 12]}" + (f",{seats(n)}" if with_seats else "")
        for n in range(first, first + rows)
    ]
    return ("Name,Level,Phone,Industry" + (",Seats" if with_seats else "") + "\n" + "\n".join(lines)).encode()


def leads_file(rows: int) -> bytes:
    """A CSV of people who work for companies."""
    lines = [f"李{SYLLABLES[n % 30]}{n},{company(n)},139{n:08d},li{n}@example.com" for n in range(rows)]
    return ("Name,Company,Phone,Email\n" + "\n".join(lines)).encode()


async def load(http: Connection, kind: str, content: bytes) -> float:
    """Imports a file through the gateway; the seconds from its start to its end. Raises AssertionError for refused rows."""
    path = f"/v1/{kind}s/imports"
    made = await http.upload(path, {"recordType": kind}, f"{kind}s.csv", content)
    began = time.perf_counter()
    await http.post(f"{path}/{made['id']}:start", {})
    while True:
        state = await http.read(f"{path}/{made['id']}")
        if state["state"] not in ("IMPORT_STATE_READY", "IMPORT_STATE_RUNNING"):
            break
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    assert state["state"] == "IMPORT_STATE_SUCCEEDED" and not state.get("refusedRows"), state
    return took


async def fill(pool: list[Connection], customers: list[str]) -> None:
    """Makes these customers full, over several connections."""
    price = {"currencyCode": "CNY", "units": "199"}
    products = [
        (
            await pool[0].post(
                "/v1/products", {"name": f"Bench product {n}", "listPrice": price, "taxPercent": "13"}
            )
        )["id"]
        for n in range(3)
    ]
    waiting = list(customers)

    async def work(http: Connection) -> None:
        while waiting:
            await _fill_one(http, waiting.pop(), products)

    await asyncio.gather(*(work(http) for http in pool))


async def _fill_one(http: Connection, customer: str, products: list[str]) -> None:
    async def many(path: str, number: int, body: dict[str, Any]) -> None:
        for n in range(number):
            named = {
                key: f"{value} {n}" if key in ("displayName", "name", "subject") else value
                for key, value in body.items()
            }
            await http.post(path, {**named, "customerId": customer})

    line = [{"productId": product, "quantity": "2"} for product in products]
    amount = {"currencyCode": "CNY", "units": "5000"}
    await many("/v1/contacts", CONTACTS, {"displayName": "王芳"})
    await many("/v1/opportunities", OPPORTUNITIES, {"name": "年度框架", "amount": amount})
    for n in range(ORDERS):
        order = await http.post("/v1/orders", {"customerId": customer, "lines": line, "notes": f"Order {n}"})
        await http.post(f"/v1/orders/{order['id']}:place", {})
    due = "2026-12-01T09:00:00Z"
    await many(
        "/v1/activities", ACTIVITIES, {"subject": "拜访", "kind": "ACTIVITY_KIND_VISIT", "dueTime": due}
    )
    await many("/v1/tickets", TICKETS, {"subject": "保修", "description": "It makes a noise."})
