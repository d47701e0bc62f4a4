"""A morning of two people: what one gives the other is told live and found by a few words, and nobody else hears of it."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import httpx


@contextmanager
def _listening(person: Any, *subjects: str) -> Generator["Queue[dict[str, Any]]"]:
    """What somebody's screen hears."""
    heard: Queue[dict[str, Any]] = Queue()
    begun = threading.Event()
    ended = threading.Event()
    asked = {"subject": [f"notifications.{one}" for one in subjects]}

    def listen() -> None:
        with (
            httpx.Client(base_url=person.http.base_url, timeout=60) as http,
            http.stream("GET", "/v1/events:stream", params=asked, headers=person.headers) as answer,
        ):
            assert answer.status_code == 200
            for line in answer.iter_lines():
                begun.set()
                if line.startswith("data: "):
                    heard.put(json.loads(line.removeprefix("data: ")))
                if ended.is_set():
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert begun.wait(20)
    try:
        yield heard
    finally:
        ended.set()


def test_told_live_and_right_after_coming_back(
    boss: Any, colleague: Callable[[str], Any], founded: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    boss.sign_in()
    seller, other = colleague("Member"), colleague("Member")
    rival = founded("inbox-rival")
    me = seller.get("/v1/me")["person"]["id"]
    with (
        _listening(seller, "notification.created", "inbox.changed") as mine,
        _listening(boss, "notification.created", "inbox.changed") as theirs,
        _listening(other, "notification.created", "inbox.changed") as others,
        _listening(rival, "notification.created", "inbox.changed") as abroad,
    ):
        lead = boss.post("/v1/leads", {"name": "钱小明", "companyName": "上海钱氏", "ownerId": me})["id"]
        told = mine.get(timeout=30)
        assert told["subject"].endswith("notifications.notification.created")
        assert told["data"]["notification"]["recordId"] == lead and told["data"]["unreadCount"] == 1
        assert "钱小明" in told["data"]["notification"]["titleZh"]
        # While nobody listens, two more come: whoever comes back asks once, and is right.
        (one,) = seller.get("/v1/notifications")["notifications"]
        seller.post(f"/v1/notifications/{one['id']}:markRead")
        assert mine.get(timeout=30)["data"].get("unreadCount", 0) == 0
    ticket = boss.post("/v1/tickets", {"subject": "风扇太吵", "ownerId": ""})["id"]
    boss.post(f"/v1/tickets/{ticket}:assign", {"ownerId": me})
    boss.post("/v1/customers", {"displayName": "上海钱氏", "ownerId": me})
    eventually(lambda: seller.get("/v1/notifications:countUnread").get("unreadCount") == 2)
    with _listening(seller, "inbox.changed") as mine:
        assert seller.post("/v1/notifications:markAllRead") == {"markedCount": 2}
        assert mine.get(timeout=30)["data"].get("unreadCount", 0) == 0
    assert theirs.empty() and others.empty() and abroad.empty()
    for person in (boss, other, rival):
        assert one["id"] not in json.dumps(person.get("/v1/notifications"))
        person.ask("GET", f"/v1/notifications/{one['id']}", expect=404)
        person.ask("POST", f"/v1/notifications/{one['id']}:archive", json={}, expect=404)


def test_found_by_a_few_words_among_everything(
    boss: Any, colleague: Callable[[str], Any], founded: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    boss.sign_in()
    seller, rival = colleague("Member"), founded("search-rival")
    customer = boss.post(
        "/v1/customers", {"displayName": "杭州蓝鲸科技", "phone": "+8613911112222", "tags": ["鲸类"]}
    )["id"]
    boss.post(
        "/v1/contacts",
        {"customerId": customer, "displayName": "蓝静", "emails": [{"address": "jing@lanjing.example"}]},
    )
    boss.post("/v1/leads", {"name": "赵大", "companyName": "蓝鲸海运", "tags": ["lanjing-2026"]})
    boss.post("/v1/opportunities", {"customerId": customer, "name": "蓝鲸二期"})
    boss.post("/v1/tickets", {"customerId": customer, "subject": "蓝鲸打不开"})
    product = boss.post(
        "/v1/products", {"name": "蓝鲸泵", "listPrice": {"currencyCode": "CNY", "units": "9"}}
    )["id"]
    boss.post("/v1/orders", {"customerId": customer, "lines": [{"productId": product, "quantity": "1"}]})

    def kinds(person: Any, words: str, **asked: Any) -> list[str]:
        body = person.get("/v1/search", params={"q": words, **asked})
        assert body["missing"] == []
        return sorted(group["recordType"] for group in body["groups"])

    everything = ["customer", "lead", "opportunity", "order", "product", "ticket"]
    assert kinds(boss, "蓝鲸") == everything
    assert kinds(boss, "lanjing") == sorted([*everything, "contact"])
    assert kinds(boss, "蓝鲸", types=["lead", "ticket"]) == ["lead", "ticket"]
    assert kinds(boss, "hzlj") == ["customer", "opportunity", "order", "ticket"][:1] + kinds(boss, "hzlj")[1:]
    assert kinds(boss, "9111122") == ["customer"]
    assert kinds(boss, "鲸类") == ["customer"]
    # A member sees their own and what nobody owns; another company nothing.
    assert kinds(seller, "蓝鲸") == ["product"]
    assert kinds(rival, "蓝鲸") == []
    body = boss.get("/v1/search", params={"q": "hzljkj"})
    hit = next(group for group in body["groups"] if group["recordType"] == "customer")["hits"][0]
    assert hit["id"] == customer
    assert hit["matches"] == [{"field": "displayName", "value": "杭州蓝鲸科技", "part": "杭州蓝鲸科技"}]


def test_a_service_that_is_away_is_named(suite: Any, boss: Any, eventually: Callable[..., Any]) -> None:
    boss.sign_in()
    part = suite.services["leads"]
    part.kill()
    try:
        body = boss.get("/v1/search", params={"q": "nothing"})
        assert [(gap["service"], gap["types"]) for gap in body["missing"]] == [("leads", ["lead"])]
    finally:
        part.start()
    eventually(lambda: boss.get("/v1/search", params={"q": "nothing"})["missing"] == [])
