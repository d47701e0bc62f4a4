"""Without the database everything says to come back, and without the broker everything goes on and is told later."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from kehu_local.suite import Suite
from proof import found
from proof.checkers import message_faults

READS = {
    "identity": "/v1/people",
    "customers": "/v1/customers",
    "leads": "/v1/leads",
    "sales": "/v1/orders",
    "marketing": "/v1/campaigns",
    "servicedesk": "/v1/tickets",
    "analytics": "/v1/reports/leadsBySource",
    "notifications": "/v1/notifications",
}


def _writes(name: str, customer: str) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Domain → path, body and the event it is told by."""
    return {
        "customers": ("/v1/customers", {"displayName": name}, "customer.created"),
        "leads": ("/v1/leads", {"name": name}, "lead.created"),
        "sales": ("/v1/opportunities", {"name": name, "customerId": customer}, "opportunity.created"),
        "marketing": (
            "/v1/campaigns",
            {"name": name, "channel": "CAMPAIGN_CHANNEL_EMAIL"},
            "campaign.created",
        ),
        "servicedesk": ("/v1/tickets", {"subject": name, "customerId": customer}, "ticket.opened"),
    }


@pytest.fixture(scope="module")
def customer(boss: Any) -> str:
    """The id of a customer."""
    return boss.sign_in().post("/v1/customers", {"displayName": "Lost and found"})["id"]


def test_every_service_is_tried(suite: Suite) -> None:
    assert READS.keys() == suite.services.keys()


def test_without_the_database_everyone_is_told_when_to_come_back(
    suite: Suite, boss: Any, customer: str, eventually: Callable[..., Any]
) -> None:
    assert suite.postgres is not None
    boss.sign_in()

    def ask(method: str, path: str, body: Any = None) -> Any:
        began = time.monotonic()
        answer = boss.http.request(method, path, json=body, headers=boss.headers)
        assert time.monotonic() - began < 6
        return answer

    suite.postgres.kill()
    try:
        answers = {path: ask("GET", path) for path in READS.values()}
        for path, body, _ in _writes("In vain", customer).values():
            answers[f"to {path}"] = ask("POST", path, body)
        sign_in = {"tenant": boss.tenant, "email": boss.email, "password": boss.password}
        answers["sign in"] = ask("POST", "/v1/sessions:signIn", sign_in)
    finally:
        suite.postgres.start()
    for path, answer in answers.items():
        assert answer.status_code == 503, f"{path}: {answer.status_code} {answer.text}"
        assert int(answer.headers["retry-after"]) >= 1, path
        assert "postgres" not in answer.text.lower() and "asyncpg" not in answer.text
    for path in READS.values():
        eventually(lambda path=path: ask("GET", path).status_code == 200, 10)
    names = [lead["name"] for lead in boss.get("/v1/leads", params={"query": "In vain"}).get("leads", [])]
    assert "In vain" not in names


def test_without_the_broker_writes_go_on_and_are_told_of_later(
    suite: Suite, boss: Any, customer: str, eventually: Callable[..., Any]
) -> None:
    assert suite.nats is not None
    boss.sign_in()
    made: dict[str, tuple[str, str]] = {}
    suite.nats.kill()
    try:
        for domain, (path, body, event) in _writes("Written in the dark", customer).items():
            made[domain] = (boss.post(path, body)["id"], f"kehu.{boss.tenant}.{domain}.{event}")
        for path in READS.values():
            boss.get(path)
        assert found.unsent(suite) >= len(made)
    finally:
        suite.nats.start()
    eventually(lambda: found.unsent(suite) == 0, 30)
    for id, subject in made.values():
        told = [message for message in found.messages(suite, subject) if message.record_id == id]
        assert message_faults([id], told) == []
