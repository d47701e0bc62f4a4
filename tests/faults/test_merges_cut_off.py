"""A merge, and its undoing, whose processes die at any step: whoever asks again finds it made once, and all references agree."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kehu_local.suite import Suite
from proof.rig import Rig, rigged

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def signed_in(boss: Any) -> Iterator[Any]:
    yield boss.sign_in()


def _pair(boss: Any) -> tuple[str, str, dict[str, str]]:
    """Two customers, and what refers to the second."""
    one, two = (boss.post("/v1/customers", {"displayName": f"{n} {uuid4()}"})["id"] for n in ("One", "Two"))
    return one, two, {
        "contacts": boss.post("/v1/contacts", {"customerId": two, "displayName": "Li Lei"})["id"],
        "opportunities": boss.post("/v1/opportunities", {"customerId": two, "name": "A pump"})["id"],
        "tickets": boss.post("/v1/tickets", {"customerId": two, "subject": "It leaks"})["id"],
    }  # fmt: skip


def _all_of(boss: Any, made: dict[str, str], customer: str) -> bool:
    """Whether everything refers to that customer."""
    return {boss.get(f"/v1/{path}/{id}")["customerId"] for path, id in made.items()} == {customer}


def _asked(boss: Any, path: str, body: dict[str, Any], key: str) -> Any:
    """Asks until it is answered, each time with the same key."""
    while True:
        answer = boss.http.post(path, json=body, headers={**boss.headers, "idempotency-key": key})
        assert answer.status_code in (200, 503, 504), answer.text
        if answer.status_code == 200:
            return answer.json()


def _through(boss: Any, rig: Rig, step: str, others: int, path: str, body: dict[str, Any]) -> Any:
    """The answer to what was asked while the service died at that step, and was started again."""
    rig.arm(step, others)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_asked, boss, path, body, str(uuid4()))
        rig.died()
        rig.part.start()
        return answer.result()


def _merged_through(
    boss: Any, rig: Rig, eventually: Callable[..., Any], steps: list[tuple[str, int]], undoing: list[tuple[str, int]]
) -> None:  # fmt: skip
    for step, others in steps:
        one, two, made = _pair(boss)
        merge = _through(boss, rig, step, others, f"/v1/customers/{one}:merge", {"mergedIds": [two]})
        eventually(partial(_all_of, boss, made, one), 30)
        listed = boss.get("/v1/merges", params={"filter": f'survivorId = "{one}"'})["merges"]
        assert [found["id"] for found in listed] == [merge["id"]]
    for step, others in undoing:
        one, two, made = _pair(boss)
        merge = boss.post(f"/v1/customers/{one}:merge", {"mergedIds": [two]})
        eventually(partial(_all_of, boss, made, one), 30)
        undone = _through(boss, rig, step, others, f"/v1/merges/{merge['id']}:undo", {})
        assert undone["state"] == "MERGE_STATE_UNDONE"
        eventually(partial(_all_of, boss, made, two), 30)


def _call_and_event(method: str, event: str) -> list[tuple[str, int]]:
    named = [f"{method}, commit 1", f"sending {event}"]
    return [(f"{when} {name}", 0) for name in named for when in ("before", "after")]


def test_customers_dies_at_each_step(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    with rigged(suite, "customers", tmp_path / "rig") as rig:
        steps = _call_and_event("MergeCustomers", "customer.merged")
        _merged_through(signed_in, rig, eventually, steps, _call_and_event("UndoMerge", "customer.unmerged"))


def test_sales_dies_at_each_step(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    with rigged(suite, "sales", tmp_path / "rig") as rig:
        steps = [
            (f"{when} {what}", 0)
            for what in ("commit in the background", "sending opportunity.updated")
            for when in ("before", "after")
        ]
        _merged_through(signed_in, rig, eventually, steps, steps)
