"""A merge, and its undoing, whose processes die at any step: whoever asks again finds it made once, and all references agree.

The steps are listed by merging undisturbed. With KEHU_EVERY_STEP=1 the services of leads and those that follow customers die at
each of them. Else those that begin something new are passed: at the last step of each kind (a commit of the call, one in the
background, a message) each dies once on either side, before it in the merge or in its undoing, and after it in the other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kehu_local.suite import Suite
from proof.boundaries import EVERY, chosen
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
    return _while_they_die(boss, [rig], path, body)


def _while_they_die(boss: Any, rigs: Sequence[Rig], path: str, body: dict[str, Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_asked, boss, path, body, str(uuid4()))
        for rig in rigs:
            rig.died(40)
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


Ask = Callable[[str, dict[str, Any]], Any]


@dataclass(frozen=True)
class _Merged:
    """Two records that are merged, and what refers to the second."""

    boss: Any
    one: str
    two: str
    path: str
    """Where records of the kind are."""
    undo: str
    """Where merges of the kind are."""
    made: Mapping[str, tuple[str, str]]
    """Where something is, its id, and its field that refers to the second."""

    def agree(self, id: str) -> bool:
        """Whether everything refers to that one."""
        return {self.boss.get(f"{path}/{it}").get(field) for path, (it, field) in self.made.items()} == {id}

    def merge(self, ask: Ask, eventually: Callable[..., Any]) -> str:
        """Merges them, and waits for those who follow; the merge."""
        merge = ask(f"{self.path}/{self.one}:merge", {"mergedIds": [self.two]})
        eventually(partial(self.agree, self.one), 40)
        listed = self.boss.get(self.undo, params={"filter": f'survivorId = "{self.one}"'})
        assert [found["id"] for found in next(iter(listed.values()))] == [merge["id"]]
        return merge["id"]

    def take_apart(self, merge: str, ask: Ask, eventually: Callable[..., Any]) -> None:
        """Undoes it, and waits for those who follow."""
        assert ask(f"{self.undo}/{merge}:undo", {})["state"].endswith("_UNDONE")
        eventually(partial(self.agree, self.two), 40)
        assert {self.boss.get(f"{self.path}/{id}")["id"] for id in (self.one, self.two)} == {
            self.one,
            self.two,
        }


def _campaign(boss: Any) -> str:
    return boss.post("/v1/campaigns", {"name": f"Fair {uuid4()}", "channel": "CAMPAIGN_CHANNEL_EMAIL"})["id"]


def _leads(boss: Any) -> _Merged:
    one, two = (
        boss.post("/v1/leads", {"name": f"Li Lei {n}", "email": f"{uuid4()}@x.example"})["id"] for n in "12"
    )
    due = "2026-12-01T09:00:00Z"
    call = {"kind": "ACTIVITY_KIND_CALL", "subject": "Call", "dueTime": due, "leadId": two}
    member = {"campaignId": _campaign(boss), "leadId": two}
    note = {"recordType": "lead", "recordId": two, "text": "wants a pump"}
    return _Merged(boss, one, two, "/v1/leads", "/v1/leadMerges", {
        "/v1/activities": (boss.post("/v1/activities", call)["id"], "leadId"),
        "/v1/campaignMembers": (boss.post("/v1/campaignMembers", member)["id"], "leadId"),
        "/v1/leads/notes": (boss.post("/v1/leads/notes", note)["id"], "recordId"),
    })  # fmt: skip


def _contacts(boss: Any) -> _Merged:
    customer = boss.post("/v1/customers", {"displayName": f"Kehu {uuid4()}"})["id"]
    one, two = (
        boss.post("/v1/contacts", {"customerId": customer, "displayName": f"Wang {n}"})["id"] for n in "12"
    )
    of = {"customerId": customer, "contactId": two}
    call = {"kind": "ACTIVITY_KIND_CALL", "subject": "Call", "dueTime": "2026-12-01T09:00:00Z", **of}
    return _Merged(boss, one, two, "/v1/contacts", "/v1/merges", {
        "/v1/activities": (boss.post("/v1/activities", call)["id"], "contactId"),
        "/v1/tickets": (boss.post("/v1/tickets", {**of, "subject": "It leaks"})["id"], "contactId"),
    })  # fmt: skip


def _customers(boss: Any) -> _Merged:
    one, two = (boss.post("/v1/customers", {"displayName": f"{n} {uuid4()}"})["id"] for n in ("One", "Two"))
    lead = boss.post("/v1/leads", {"name": "Li Lei", "companyName": f"Two {uuid4()}"})["id"]
    boss.post(f"/v1/leads/{lead}:convert", {"customerId": two})
    member = {"campaignId": _campaign(boss), "customerId": two}
    return _Merged(boss, one, two, "/v1/customers", "/v1/merges", {
        "/v1/leads": (lead, "customerId"),
        "/v1/tickets": (boss.post("/v1/tickets", {"customerId": two, "subject": "It leaks"})["id"], "customerId"),
        "/v1/campaignMembers": (boss.post("/v1/campaignMembers", member)["id"], "customerId"),
    })  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """What a service does for a merge: in which calls, or in the background when there are none, and what it tells then, and
    when it is undone."""

    calls: Sequence[str]
    merged: Sequence[str]
    unmerged: Sequence[str]

    def steps(self, passed: Sequence[str], told: Sequence[str]) -> list[str]:
        """Those that are taken for it; a service does other things meanwhile."""
        return [
            step
            for step in dict.fromkeys(passed)
            if any(f" {call}, " in step for call in self.calls)
            or (not self.calls and step.endswith("commit in the background"))
            or any(step.endswith(f"sending {event}") for event in told)
        ]


def _turns(steps: Sequence[str], sides: Sequence[str]) -> list[str]:
    """At which of them to die: of those that are chosen every second one, on these sides in turn, unless all are wanted."""
    if EVERY:
        return list(steps)
    return [step for place, step in enumerate(chosen(steps)) if step.startswith(sides[place // 2 % 2])]


def _steps(
    rigs: Mapping[str, Rig], parts: Mapping[str, _Part], pair: _Merged, eventually: Callable[..., Any]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The steps of a merge and of its undoing, as undisturbed ones pass them, by service."""

    def ask(path: str, body: dict[str, Any]) -> Any:
        return _asked(pair.boss, path, body, str(uuid4()))

    def passed(work: Callable[[], Any], told: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        with ExitStack() as stack:
            noted = {name: stack.enter_context(rig.noting()) for name, rig in rigs.items()}
            found.append(work())
            for name, rig in rigs.items():
                eventually(partial(_sent, rig, told[name]), 60)
        return {name: parts[name].steps(steps, told[name]) for name, steps in noted.items()}

    found: list[Any] = []
    merging = passed(lambda: pair.merge(ask, eventually), {name: part.merged for name, part in parts.items()})
    undone = {name: part.unmerged for name, part in parts.items()}
    return merging, passed(lambda: pair.take_apart(found[0], ask, eventually), undone)


def _sent(rig: Rig, events: Sequence[str]) -> bool:
    told = (rig.folder / "passed").read_text()
    return all(f"after sending {event}\n" in told for event in events)


def _die_at_each_step(
    suite: Suite, boss: Any, folder: Path, parts: Mapping[str, _Part], make: Callable[[Any], _Merged],
    eventually: Callable[..., Any],
) -> None:  # fmt: skip
    """All of these services die together, each at a step of its own."""
    died: dict[str, set[str]] = {name: set() for name in parts}

    def dying(path: str, body: dict[str, Any], steps: Mapping[str, str]) -> Any:
        for name, step in steps.items():
            rigs[name].arm(step)
            died[name].add(step)
        return _while_they_die(boss, [rigs[name] for name in steps], path, body)

    with ExitStack() as stack:
        rigs = {name: stack.enter_context(rigged(suite, name, folder / name)) for name in parts}
        merging, undoing = _steps(rigs, parts, make(boss), eventually)
        first = {name: _turns(merging[name], ("before", "after")) for name in rigs}
        then = {name: _turns(undoing[name], ("after", "before")) for name in rigs}
        for turn in range(max(len(steps) for steps in (*first.values(), *then.values()))):
            boss.sign_in()
            pair = make(boss)
            now = {name: steps[turn] for name, steps in first.items() if turn < len(steps)}
            later = {name: steps[turn] for name, steps in then.items() if turn < len(steps)}
            merge = pair.merge(partial(dying, steps=now), eventually)
            pair.take_apart(merge, partial(dying, steps=later), eventually)
    for name, part in parts.items():
        whats = {step.partition(" ")[2] for step in died[name]}
        commits = {f"{call}, commit 1" for call in part.calls} or {"commit in the background"}
        assert whats >= commits | {f"sending {part.merged[-1]}", f"sending {part.unmerged[-1]}"}, (
            name,
            whats,
        )
        assert {(step.partition(" ")[0], "sending" in step) for step in died[name]} == {
            (side, sending) for side in ("before", "after") for sending in (False, True)
        }


def test_leads_dies_at_each_step_of_its_own_merges(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    part = _Part(
        ("MergeLeads", "UndoLeadMerge"),
        ("lead.disqualified", "lead.merged"),
        ("lead.reopened", "lead.unmerged"),
    )
    _die_at_each_step(suite, signed_in, tmp_path, {"leads": part}, _leads, eventually)


def test_customers_dies_at_each_step_of_merging_contacts(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    part = _Part(("MergeContacts", "UndoMerge"), ("contact.merged",), ("contact.unmerged",))
    _die_at_each_step(suite, signed_in, tmp_path, {"customers": part}, _contacts, eventually)


def test_those_who_follow_a_customer_die_at_each_step(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    told = {"leads": "lead.updated", "servicedesk": "ticket.updated", "marketing": "member.responded"}
    parts = {name: _Part((), (event,), (event,)) for name, event in told.items()}
    _die_at_each_step(suite, signed_in, tmp_path, parts, _customers, eventually)
