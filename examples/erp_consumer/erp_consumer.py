"""An ERP beside Kehu: books every order of its tenant once and reports its delivery. Needs nats-py and nothing of Kehu's.

An order is in the books, a SQLite file of its own, before its message is acknowledged. So a crash anywhere brings the message
again; the order's id, which is the key of the books, keeps it from being booked twice, and the Idempotency-Key, the same at
every try, keeps its delivery from being recorded twice.
"""

import asyncio
import json
import os
import sqlite3
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import nats
from nats.errors import Error as BrokerError

TABLE = """CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, number TEXT, currency TEXT, total TEXT,
    cancelled INTEGER DEFAULT 0, delivered INTEGER DEFAULT 0)"""


def book(books: sqlite3.Connection, order_id: str, order: dict[str, Any]) -> None:
    """Writes the order down, durably; one that is there already stays as it is."""
    total = order["total"]
    amount = f"{int(total.get('units', 0))}.{total.get('nanos', 0):09d}"
    row = (order_id, order["number"], total["currencyCode"], amount)
    with books:
        books.execute("INSERT OR IGNORE INTO orders (id, number, currency, total) VALUES (?, ?, ?, ?)", row)


def report_delivery(order_id: str) -> bool:
    """Tells Kehu that all of the order was delivered; False when it was cancelled. Raises OSError when Kehu is away."""
    headers = {
        "x-api-key": os.environ["KEHU_API_KEY"],
        "content-type": "application/json",
        "idempotency-key": f"erp-delivery-{order_id}",
    }
    delivery = {"delivery": {"number": f"DN-{order_id}", "carrier": "SF Express"}}
    url = f"{os.environ['KEHU_URL']}/v1/orders/{order_id}:recordDelivery"
    try:
        with urlopen(Request(url, json.dumps(delivery).encode(), headers), timeout=10):
            return True
    except HTTPError as error:
        if json.load(error).get("reason") != "ORDER_NOT_DELIVERABLE":
            raise
        return False


def handle(books: sqlite3.Connection, subject: str, event: dict[str, Any]) -> None:
    """Books and delivers a placed order, notes a cancelled one. Other events of orders do not concern an ERP."""
    order_id = event["orderId"]
    happened = subject.rpartition(".")[2]
    if happened in ("placed", "cancelled"):
        book(books, order_id, event["order"])
    if happened == "cancelled":
        with books:
            books.execute("UPDATE orders SET cancelled = 1 WHERE id = ?", (order_id,))
    elif happened == "placed" and report_delivery(order_id):
        with books:
            books.execute("UPDATE orders SET delivered = 1 WHERE id = ?", (order_id,))


async def main() -> None:
    """Consumes for ever."""
    books = sqlite3.connect(os.environ["ERP_BOOKS"])
    books.execute("PRAGMA synchronous = FULL")
    books.execute(TABLE)
    stream, consumer = os.environ.get("NATS_STREAM", "SALES"), os.environ["NATS_CONSUMER"]
    # Answers come on inboxes that bear the user's name; on others the broker lets nobody listen.
    inbox = f"_INBOX_{consumer}".encode()
    client = await nats.connect(os.environ["NATS_URL"], inbox_prefix=inbox, max_reconnect_attempts=-1)
    orders = await client.jetstream().pull_subscribe_bind(durable=consumer, stream=stream)
    print("waiting for orders", flush=True)
    while True:
        try:
            for message in await orders.fetch(1, timeout=5):
                try:
                    handle(books, message.subject, json.loads(message.data))
                    await message.ack_sync()
                except OSError as problem:  # Kehu is away
                    print(f"{message.subject}: {problem}", flush=True)
                    await message.nak(delay=2)
                    await asyncio.sleep(1)
        except TimeoutError:  # nothing new
            continue
        except BrokerError as problem:
            print(f"the broker: {problem!r}", flush=True)
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
