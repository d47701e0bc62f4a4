"""One event in a hundred cannot take effect and some messages are no events at all: the flow goes on, nothing is forgotten."""

import asyncio
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chassis.ids import new_id
from kehu_local.processes import wait_until
from kehu_local.suite import Suite, start_suite
from proof import found
from proof.checkers import effect_faults, poison_faults
from proof.commands import said
from proof.experiments.kills import at_rest
from proof.found import Message
from proof.load import started
from proof.people import administrator
from proof.rig import rigged
from proof.scoreboard import Experiment, Figure, Row, Trial

R15 = Row("R15", "1 % poison events", "healthy flow goes on; dead letters replayable")
GARBAGE: tuple[bytes, ...] = (b"", b"{", b"\xff\xfe\x00", b'{"order": 7}', b"[" * 20_000)
_BOUND = 5.0
"""Seconds within which a healthy event takes effect while poison is tried again and again."""


@dataclass(frozen=True)
class Letter:
    """A dead letter, as the operator's list shows it."""

    id: str
    event_id: str
    reason: str


def run(trial: Trial) -> Mapping[str, Figure]:
    """Short: 300 events reach customers, three of them poison. Long: 3,000 and thirty."""
    with start_suite(trial.folder / "suite", keep_password=True) as suite, found.tallied(suite, "customers"):
        boss = administrator(suite)
        began = time.monotonic()
        with rigged(suite, "customers", trial.folder / "rig", ["tally", "poison"]):
            load = started(boss, trial, suite.base_url)
            wanted = trial.size(short=300, long=3_000)
            assert wait_until(lambda: load.over or len(found.effects(suite, "customers")) > 50, 60)
            asyncio.run(publish_garbage(suite, boss.tenant))
            assert wait_until(
                lambda: load.over or len(found.effects(suite, "customers")) >= wanted, 1200, 0.5
            )
            load.end()
            # The attempts at a poison event lie 51 s apart in all.
            calm = wait_until(lambda: at_rest(suite, load, boss.tenant), 240, 0.5)
            took = time.monotonic() - began
            told = concerning(suite, boss.tenant)
            kept = letters(suite)
            faults = poison_faults([one.event_id for one in kept], found.effects(suite, "customers"), told)
            delays = _delays(suite)
        with rigged(suite, "customers", trial.folder / "rig", ["tally"]):
            replayed, discarded = _dealt_with(suite, kept)
            after = effect_faults(told, found.effects(suite, "customers"))
            left = letters(suite)
            boss.sign_in().post("/v1/customers", {"displayName": "Still at work"})
    poison = [one for one in kept if "more than this handler can bear" in one.reason]
    for fault in (*faults, *after):
        trial.note("fault", row="R15", fault=fault)
    middle, worst = statistics.median(delays), max(delays)
    return {
        "R15": Figure(
            f"{len(poison)} poison of {len(told):,} events and {len(GARBAGE)} messages that are none; healthy events took "
            f"effect after {middle:.2f} s, at worst {worst:.2f} s; {len(faults)} forgotten or doubled; {replayed} dead letters "
            f"replayed, {discarded} discarded, {len(left)} left; after that {len(after)} faults; {took:.0f} s",
            calm and len(poison) >= len(told) // 100 - 1 > 0 and replayed == len(poison)
            and discarded == len(GARBAGE) and not (faults or after or left) and worst <= _BOUND,
            {
                "events": len(told), "poison": len(poison), "garbage": len(GARBAGE), "faults": len(faults) + len(after),
                "median s": round(middle, 3), "worst s": round(worst, 3), "replayed": replayed, "discarded": discarded,
            },
        )
    }  # fmt: skip


async def publish_garbage(suite: Suite, tenant: str) -> None:
    """Messages that no service of ours has sent, on the subject of placed orders."""
    async with found.broker(suite) as js:
        for number, data in enumerate(GARBAGE):
            # Some with an envelope that looks right, some with none.
            headers = {"ce-id": str(new_id()), "ce-type": "kehu.sales.v1.OrderPlaced"} if number % 2 else None
            await js.publish(f"kehu.{tenant}.sales.order.placed", data, timeout=5, headers=headers)


def concerning(suite: Suite, tenant: str) -> list[Message]:
    """The events of which each must have one effect in customers; garbage has no id and is left out."""
    placed = found.messages(suite, f"kehu.{tenant}.sales.order.placed")
    opened = found.messages(suite, f"kehu.{tenant}.servicedesk.ticket.opened")
    return [one for one in (*placed, *opened) if one.record_id]


def letters(suite: Suite, domain: str = "customers") -> list[Letter]:
    """The dead letters of that service, by the operator's own command, with the ids of their events."""
    shown: list[dict[str, Any]] = [
        json.loads(line) for line in said(suite, domain, "dead-letters", "list").splitlines()
    ]
    ids = {
        str(row["id"]): str(row["event_id"])
        for row in found.rows(suite, domain, "SELECT id, event_id FROM dead_letters")
    }
    return [Letter(one["id"], ids[one["id"]], one["reason"]) for one in shown]


def _dealt_with(suite: Suite, kept: list[Letter]) -> tuple[int, int]:
    """Replays what is an event and discards what is none: the numbers of both."""
    replayed = discarded = 0
    events = {
        str(row["id"])
        for domain in suite.services
        for row in found.rows(suite, domain, "SELECT id FROM outbox")
    }
    for letter in kept:
        if letter.event_id in events:
            replayed += "took effect" in said(suite, "customers", "dead-letters", "replay", letter.id)
        else:
            discarded += "discarded" in said(suite, "customers", "dead-letters", "discard", letter.id)
    return replayed, discarded


def _delays(suite: Suite) -> list[float]:
    """Seconds from the commit of each event that has taken effect to the effect."""
    effects = {
        str(row["event_id"]): row["at"] for row in found.rows(suite, "customers", "SELECT * FROM tally")
    }
    made = {
        str(row["id"]): row["created_at"]
        for domain in ("sales", "servicedesk")
        for row in found.rows(suite, domain, "SELECT id, created_at FROM outbox")
    }
    return [(at - made[id]).total_seconds() for id, at in effects.items() if id in made]


EXPERIMENT = Experiment("poison", (R15,), run)
