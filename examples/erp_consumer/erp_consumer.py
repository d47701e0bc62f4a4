"""An ERP beside Kehu: books every order of its tenant once and reports its delivery. Needs nats-py and nothing else of Kehu's.

What it has done stands in a file of its own (SQLite): an order is booked before its message is acknowledged, so a crash
anywhere brings the message again, and the order's id, which is the key, keeps it from being booked twice. The delivery is
reported with the same Idempotency-Key at every try, so Kehu records it once.
"""

import asyncio
import json
import os
import sqlite3
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import nats

TABLE = (
    "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, number TEXT, currency TEXT, total TEXT,"
    " cancelled INTEGER DEFAULT 0, delivered INTEGER DEFAULT 0)"
)


def book(books: sqlite3.Connection, order_id: str, order: dict[str, Any]) -> None:
    """Writes the order down, durably; an order already there stays as it is."""
    total = order["total"]
    amount = f"{int(total.get('units', 0))}.{total.get('nanos', 0):09d}"
    with books:
        row = (order_id, order["number"], total["currencyCode"], amount)
        books.execute("INSERT OR IGNORE INTO orders (id, number, currency, total) VALUES (?, ?, ?, ?)", row)


def report_delivery(order_id: str) -> None:
    """Tells Kehu that all of the order was delivered. Raises URLError when Kehu is away: the message comes again."""
    request = Request(
        f"{os.environ['KEHU_URL']}/v1/orders/{order_id}:recordDelivery",
        json.dumps({"delivery": {"number": f"DN-{order_id[:8]}", "carrier": "SF Express"}}).encode(),
        {
            "x-api-key": os.environ["KEHU_API_KEY"],
            "content-type": "application/json",
            "idempotency-key": f"erp-delivery-{order_id}",
        },
    )
    try:
        with urlopen(request, timeout=10):
            pass
    except HTTPError as error:
        if (
            json.load(error).get("reason") != "ORDER_NOT_DELIVERABLE"
        ):  # cancelled meanwhile: nothing to deliver
            raise


def handle(books: sqlite3.Connection, subject: str, event: dict[str, Any]) -> None:
    """Books a placed order and delivers it; notes that one was cancelled. Other events of orders do not concern an ERP."""
    order_id = event["orderId"]
    if subject.endswith(".order.placed"):
        book(books, order_id, event["order"])
        report_delivery(order_id)
        with books:
            books.execute("UPDATE orders SET delivered = 1 WHERE id = ?", (order_id,))
    elif subject.endswith(".order.cancelled"):
        with books:
            books.execute("UPDATE orders SET cancelled = 1 WHERE id = ?", (order_id,))


async def main() -> None:
    """Consumes for ever."""
    books = sqlite3.connect(os.environ["ERP_BOOKS"])
    books.execute("PRAGMA synchronous = FULL")
    books.execute(TABLE)
    consumer = os.environ["NATS_CONSUMER"]
    client = await nats.connect(
        os.environ["NATS_URL"], inbox_prefix=f"_INBOX_{consumer}".encode(), max_reconnect_attempts=-1
    )
    orders = await client.jetstream().pull_subscribe_bind(durable=consumer, stream="SALES")
    print("waiting for orders", flush=True)
    while True:
        try:
            messages = await orders.fetch(10, timeout=5)
        except TimeoutError:  # nothing new, or the broker is away
            continue
        for message in messages:
            try:
                handle(books, message.subject, json.loads(message.data))
                await message.ack_sync()
            except (
                OSError
            ) as problem:  # Kehu or the broker is away: again in a while, and the next one meanwhile
                print(f"{message.subject}: {problem}", flush=True)
                await message.nak(delay=2)


if __name__ == "__main__":
    asyncio.run(main())
