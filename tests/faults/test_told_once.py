"""Notifications whose service dies between an event and its effect, and at every step around: each cause is told once, and the
count of unread ones is right."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kehu_local.processes import wait_until
from kehu_local.suite import Suite
from proof import found
from proof.rig import rigged

pytestmark = pytest.mark.timeout(300)
_STEPS = (
    "before commit in the background",
    "after commit in the background",
    "before sending notification.created",
    "after sending notification.created",
)


@pytest.fixture
def signed_in(boss: Any) -> Iterator[Any]:
    yield boss.sign_in()


def _told(seller: Any) -> Counter[str]:
    listed = seller.get("/v1/notifications", params={"pageSize": 200, "filter": "recordType = lead"})
    return Counter(one.get("recordId", "") for one in listed.get("notifications", ()))


def test_each_cause_once(
    suite: Suite,
    signed_in: Any,
    colleague: Callable[[str], Any],
    eventually: Callable[..., Any],
    tmp_path: Path,
) -> None:
    seller = colleague("Member")
    owner = seller.get("/v1/me")["person"]["id"]
    leads: list[str] = []
    with rigged(suite, "notifications", tmp_path / "rig") as rig:
        for others in (0, 1):
            for step in _STEPS:
                rig.arm(step, others)
                # Events that come together are taken in one transaction: then it takes more of them to come to the second.
                for _ in range(4):
                    for _ in range(2):
                        lead = signed_in.post("/v1/leads", {"name": f"Told {uuid4()}", "ownerId": owner})
                        leads.append(lead["id"])
                    if wait_until(lambda: not rig.part.alive, 10):
                        break
                rig.died(10)
                rig.part.start()
        expected = Counter(leads)

        def told() -> bool:
            seller.sign_in()
            gathered = [one for one in _all(seller) if one.get("recordCount", 1) > 1]
            many = sum(one["recordCount"] for one in gathered)
            return sum(_told(seller).values()) - len(gathered) + many == len(leads)

        eventually(told, 90)
    assert all(count == 1 for id, count in _told(seller).items() if id), _told(seller)
    assert set(_told(seller)) - {""} <= set(expected)
    causes = found.rows(suite, "notifications", "SELECT event_id FROM causes WHERE person_id = $1", owner)
    assert len(causes) == len(leads)
    unread = seller.get("/v1/notifications:countUnread")["unreadCount"]
    assert unread == len(_all(seller))
    kept = found.rows(suite, "notifications", "SELECT unread_count FROM inboxes WHERE id = $1", owner)
    assert [row["unread_count"] for row in kept] == [unread]


def _all(seller: Any) -> list[Any]:
    return seller.get("/v1/notifications", params={"pageSize": 200}).get("notifications", [])


def test_it_is_told_when_the_service_is_back(
    suite: Suite, signed_in: Any, colleague: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    seller = colleague("Member")
    part = suite.services["notifications"]
    part.kill()
    try:
        signed_in.post("/v1/leads", {"name": "While away", "ownerId": seller.get("/v1/me")["person"]["id"]})
        answer = seller.http.get("/v1/notifications", headers=seller.headers)
        assert answer.status_code == 503
    finally:
        part.start()
    titles = eventually(lambda: [one["title"] for one in _all(seller)])
    assert len(titles) == 1 and "While away" in titles[0]
