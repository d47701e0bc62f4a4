"""The example ERP as a real process: killed at the two instants that matter it books and delivers every order once, and its user
of the broker may read its tenant's orders and nothing else.
"""

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import nats
import pytest
from nats.js.api import ConsumerInfo

from kehu_local import erp
from kehu_local.nats import ADMIN, erp_user, inbox
from kehu_local.suite import Suite

PROGRAM = Path(__file__).parents[2] / "examples" / "erp_consumer" / "erp_consumer.py"
TENANT = "machines"
DELIVERED = "ORDER_STATUS_DELIVERED"


@dataclass
class Company:
    """A tenant with a customer, and the ERP's way into it."""

    boss: Any
    customer: str
    product: str
    access: erp.Access
    api_key: str

    def place(self) -> str:
        """A placed order; its id."""
        line = {
            "productId": self.product,
            "quantity": "2",
            "unitPrice": {"currencyCode": "CNY", "units": "10", "nanos": 50_000_000},
        }
        body = {"customerId": self.customer, "lines": [line]}
        return self.boss.post("/v1/orders", body, params={"place": "true"})["id"]


def trade(boss: Any) -> tuple[str, str]:
    """A customer and a product, to place orders with."""
    price = {"currencyCode": "CNY", "units": "12"}
    customer = boss.post("/v1/customers", {"displayName": "大连机床集团"})
    return customer["id"], boss.post("/v1/products", {"name": "Drill of the ERP", "listPrice": price})["id"]


@pytest.fixture(scope="module")
def company(suite: Suite, founded: Callable[[str], Any]) -> Company:
    assert suite.nats is not None
    boss = founded(TENANT)
    rights = [{"resource": "RIGHT_RESOURCE_ORDERS", "read": "REACH_ALL", "write": "REACH_ALL"}]
    role = boss.post("/v1/roles", {"name": "ERP", "rights": rights})["id"]
    person = {"email": "erp@machines.example", "displayName": "ERP", "roleIds": [role]}
    made = boss.post("/v1/people", person)["person"]["id"]
    key = boss.post("/v1/apiKeys", {"name": "ERP", "personId": made})["secret"]
    customer, product = trade(boss)
    suite.nats.allow(erp_user(TENANT, "secret"))
    return Company(boss, customer, product, asyncio.run(erp.open_to(suite.nats, TENANT)), key)


@dataclass
class Program:
    """The ERP as a process, and its books."""

    environment: dict[str, str]
    books: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(PROGRAM)], env=self.environment)

    def kill(self) -> None:
        """SIGKILL: nothing of the program runs any more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def booked(self) -> dict[str, tuple[str, str, int, int]]:
        """Currency, total, whether cancelled and whether delivered, by order."""
        if not self.books.exists() or not self.books.stat().st_size:  # not opened yet, or empty
            return {}
        with sqlite3.connect(f"file:{self.books}?mode=ro", uri=True) as books:
            rows = books.execute("SELECT id, currency, total, cancelled, delivered FROM orders").fetchall()
        assert len(rows) == len({row[0] for row in rows})
        return {
            id: (currency, total, cancelled, delivered) for id, currency, total, cancelled, delivered in rows
        }


@dataclass
class Wire:
    """Stands between the ERP and the gateway, and kills the ERP at the report of chosen orders: `before` Kehu has heard of the
    delivery, or `after` it has, before the ERP has the answer.
    """

    gateway: str
    before: set[str] = field(default_factory=set[str])
    after: set[str] = field(default_factory=set[str])
    reports: Counter[str] = field(default_factory=Counter[str])
    """Tries by order."""
    kill: Callable[[], None] = lambda: None
    server: ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                wire.pass_on(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the test says what matters."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def pass_on(self, call: BaseHTTPRequestHandler) -> None:
        order = call.path.rpartition("/")[2].partition(":")[0]
        self.reports[order] += 1
        body = call.rfile.read(int(call.headers["content-length"]))
        if order in self.before:
            self.before.discard(order)
            self.kill()
            return
        names = ("x-api-key", "content-type", "idempotency-key")
        headers = {name: call.headers[name] for name in names}
        answer = httpx.post(self.gateway + call.path, content=body, headers=headers, timeout=30)
        if order in self.after:
            self.after.discard(order)
            self.kill()
            return
        call.send_response(answer.status_code)
        call.send_header("content-length", str(len(answer.content)))
        call.end_headers()
        call.wfile.write(answer.content)


@pytest.fixture
def wire(suite: Suite) -> Iterator[Wire]:
    wire = Wire(suite.base_url)
    thread = threading.Thread(target=wire.server.serve_forever)
    thread.start()
    yield wire
    wire.server.shutdown()
    thread.join()
    wire.server.server_close()


@pytest.fixture
def program(company: Company, wire: Wire, tmp_path: Path) -> Iterator[Program]:
    environment = {
        "PATH": os.environ["PATH"],
        "NATS_URL": company.access.url,
        "NATS_STREAM": company.access.stream,
        "NATS_CONSUMER": company.access.consumer,
        "KEHU_URL": wire.url,
        "KEHU_API_KEY": company.api_key,
        "ERP_BOOKS": str(tmp_path / "books.sqlite"),
    }
    program = Program(environment, tmp_path / "books.sqlite")
    wire.kill = program.kill
    yield program
    program.kill()


def consumer(suite: Suite, access: erp.Access) -> ConsumerInfo:
    """How far the ERP has read, told by the broker."""

    async def ask() -> ConsumerInfo:
        assert suite.nats is not None
        client = await nats.connect(suite.nats.url_for(ADMIN))
        try:
            return await client.jetstream().consumer_info(access.stream, access.consumer)
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.mark.timeout(300)  # twice 30 s pass before the broker gives a message again
def test_an_erp_killed_in_the_middle_books_and_delivers_every_order_once(
    suite: Suite, company: Company, wire: Wire, program: Program, eventually: Callable[..., Any]
) -> None:
    boss = company.boss.sign_in()
    orders = [company.place() for _ in range(6)]
    wire.before.add(orders[1])  # booked, not reported
    wire.after.add(orders[3])  # reported, not known to be
    cancelled = company.place()
    boss.post(f"/v1/orders/{cancelled}:cancel", {"reason": "wrong model"})

    program.start()
    eventually(lambda: program.dead)
    assert set(program.booked()) == set(orders[:2])
    assert boss.get(f"/v1/orders/{orders[1]}")["status"] == "ORDER_STATUS_PLACED"

    orders += [company.place() for _ in range(3)]  # while it is away
    program.start()
    eventually(lambda: program.dead)
    assert program.booked()[orders[3]][3] == 0
    assert boss.get(f"/v1/orders/{orders[3]}")["status"] == DELIVERED

    program.start()
    orders += [company.place() for _ in range(3)]
    eventually(lambda: sum(row[3] for row in program.booked().values()) == len(orders))
    eventually(lambda: (at := consumer(suite, company.access)).num_pending == 0 == at.num_ack_pending)

    # Each once, and only the two that were cut short were reported a second time.
    expected = {id: ("CNY", "20.100000000", 0, 1) for id in orders}
    assert program.booked() == {**expected, cancelled: ("CNY", "20.100000000", 1, 0)}
    assert wire.reports == {**dict.fromkeys(orders, 1), orders[1]: 2, orders[3]: 2, cancelled: 1}
    boss.sign_in()
    for id in orders:
        order = boss.get(f"/v1/orders/{id}")
        assert (order["status"], len(order["deliveries"])) == (DELIVERED, 1)
    assert boss.get(f"/v1/orders/{cancelled}")["status"] == "ORDER_STATUS_CANCELLED"


def refused(url: str, said: str) -> str:
    """What the broker answers to that line of its own language; empty when it lets it pass."""
    way = urlsplit(url)
    sign_in = json.dumps(
        {
            "user": unquote(way.username or ""),
            "pass": unquote(way.password or ""),
            "verbose": False,
            "pedantic": False,
        }
    )
    with socket.create_connection((way.hostname or "", way.port or 0), timeout=10) as connection:
        connection.sendall(f"CONNECT {sign_in}\r\n{said}\r\nPING\r\n".encode())
        heard = b""
        while b"PONG" not in heard and (part := connection.recv(4096)):
            heard += part
    assert b"PONG" in heard, heard
    return " ".join(line for line in heard.decode().splitlines() if line.startswith("-ERR")).lower()


def test_the_erp_may_read_its_tenants_orders_and_nothing_else(suite: Suite, company: Company) -> None:
    access = company.access
    assert refused(access.url, f"SUB {access.inbox_prefix}.1 1") == ""
    for subject in (
        ">", "kehu.>", "kehu.demo.sales.order.>", f"kehu.{TENANT}.leads.>", f"kehu.{TENANT}.sales.order.placed",
        f"{inbox('erp-demo')}.>", "_INBOX.>",
    ):  # fmt: skip
        assert "permissions violation" in refused(access.url, f"SUB {subject} 1"), subject
    for subject in (
        f"kehu.{TENANT}.sales.order.placed", "kehu.demo.sales.order.placed", "$JS.API.STREAM.INFO.SALES",
        "$JS.API.STREAM.MSG.GET.SALES", "$JS.API.DIRECT.GET.SALES", "$JS.API.STREAM.DELETE.SALES",
        "$JS.API.CONSUMER.MSG.NEXT.SALES.erp-demo", "$JS.API.CONSUMER.DELETE.SALES.erp-demo",
        f"$JS.API.CONSUMER.CREATE.SALES.{access.consumer}", "$JS.API.CONSUMER.CREATE.SALES.mine",
        f"$JS.API.CONSUMER.CREATE.SALES.{access.consumer}.kehu.demo.sales.order.>", "$JS.API.CONSUMER.NAMES.SALES",
    ):  # fmt: skip
        assert "permissions violation" in refused(access.url, f"PUB {subject} 2\r\n{{}}"), subject
    assert consumer(suite, access).config.filter_subject == f"kehu.{TENANT}.sales.order.>"

    # Nor does its API key do anything but orders.
    key = {"x-api-key": company.api_key}
    assert httpx.get(f"{suite.base_url}/v1/orders", headers=key).status_code == 200
    for path in ("/v1/leads", "/v1/customers", "/v1/people"):
        assert httpx.get(suite.base_url + path, headers=key).status_code == 403


def test_orders_of_another_tenant_do_not_reach_it(
    suite: Suite, company: Company, program: Program, boss: Any, eventually: Callable[..., Any]
) -> None:
    boss.sign_in()
    company.boss.sign_in()
    foreign = Company(boss, *trade(boss), company.access, "").place()
    own = company.place()
    program.start()
    eventually(lambda: program.booked().get(own, (0, 0, 0, 0))[3])
    assert foreign not in program.booked()
    assert boss.get(f"/v1/orders/{foreign}")["status"] == "ORDER_STATUS_PLACED"
