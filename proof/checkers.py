"""What must hold after faults, as plain functions from what was acknowledged and what was found to the faults in it."""

import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.open_loop import Told
from proof.found import LeadFound, Message


@dataclass(frozen=True)
class OrderFound:
    """An order as the database has it."""

    id: str
    key: str
    """What the one who asked for it calls it."""
    number: str
    status: str


def untouched(lead: LeadFound, status: str = "NEW") -> bool:
    """Whether nothing at all has happened to the lead, which had that status."""
    made = (*lead.customers, *lead.contacts, *lead.opportunities)
    return lead.status == status and not any(lead.links) and not made and lead.events == 0


def conversion_faults(lead: LeadFound, *, may_be_untouched: bool = False) -> list[str]:
    """What keeps the conversion of that lead with contact and opportunity from being whole and done once."""
    if may_be_untouched and untouched(lead):
        return []
    faults: list[str] = []
    if lead.status != "CONVERTED":
        faults.append(f"lead {lead.id} is {lead.status}")
    kinds = ("customer", "contact", "opportunity")
    for kind, link, made in zip(
        kinds, lead.links, (lead.customers, lead.contacts, lead.opportunities), strict=True
    ):
        if len(made) != 1:
            faults.append(f"lead {lead.id} has become {len(made)} of kind {kind}")
        elif made[0] != link:
            faults.append(f"lead {lead.id} names {kind} {link or 'none'}, and {made[0]} was made")
    if lead.events != 1:
        faults.append(f"lead {lead.id} was told of as converted {lead.events} times")
    return faults


def order_faults(
    acknowledged: Mapping[str, tuple[str, str]], asked: Collection[str], found: Iterable[OrderFound]
) -> list[str]:
    """Orders lost or doubled. `acknowledged` maps the key of each placed order to the id and number its answers named;
    `asked` holds those of all requests, whether or not an answer came.
    """
    orders = list(found)
    by_key: dict[str, list[OrderFound]] = {key: [] for key in asked}
    faults: list[str] = []
    for order in orders:
        if order.key in by_key:
            by_key[order.key].append(order)
        else:
            faults.append(f"order {order.number} was asked for by nobody")
    for key, made in by_key.items():
        if len(made) > 1:
            faults.append(f"{key} has become {len(made)} orders")
        if key in acknowledged:
            if not any((order.id, order.number) == acknowledged[key] for order in made):
                faults.append(f"{key} was acknowledged as order {acknowledged[key][1]}, which is not there")
            elif all(order.status == "DRAFT" for order in made):
                faults.append(f"{key} was acknowledged as placed, and is not")
    numbers = Counter(order.number for order in orders)
    faults += [f"{many} orders bear the number {number}" for number, many in numbers.items() if many > 1]
    return faults


def message_faults(records: Iterable[str], messages: Iterable[Message]) -> list[str]:
    """Changes without their one message, and messages without a change. `records` are the ids of what has changed once."""
    told = Counter(message.record_id for message in messages)
    changed = set(records)
    return [f"{id} was told of {told[id]} times" for id in sorted(changed) if told[id] != 1] + [
        f"{id} was told of and has not changed" for id in sorted(told.keys() - changed)
    ]


def effect_faults(messages: Iterable[Message], effects: Iterable[str]) -> list[str]:
    """Events without their one effect. `effects` holds an event's id once for each time it took effect."""
    counted = Counter(effects)
    ids = {message.event_id for message in messages}
    return [f"event {id} took effect {counted[id]} times" for id in sorted(ids) if counted[id] != 1]


@dataclass(frozen=True)
class RecordFound:
    """A record that is written again and again, as the database has it."""

    id: str
    key: str
    """What the one who writes it calls it."""
    text: str
    version: int


def record_faults(
    acknowledged: Mapping[str, tuple[str, str, int]], found: Iterable[RecordFound]
) -> tuple[list[str], list[str]]:
    """What was lost and what was doubled. `acknowledged` maps each key to the id, the last text and the number of writes
    that were acknowledged; nothing else was asked for.
    """
    by_key: dict[str, list[RecordFound]] = {}
    for record in found:
        by_key.setdefault(record.key, []).append(record)
    lost: list[str] = []
    doubled = [f"{key} has become {len(made)} records" for key, made in by_key.items() if len(made) > 1]
    doubled += [f"{key} was asked for by nobody" for key in by_key.keys() - acknowledged.keys()]
    for key, (id, text, writes) in acknowledged.items():
        made = next((one for one in by_key.get(key, ()) if one.id == id), None)
        if made is None:
            lost.append(f"{key} was acknowledged as {id}, which is not there")
        elif made.text != text or made.version < writes:
            lost.append(
                f"{key} is '{made.text}' at version {made.version}, acknowledged was '{text}' at {writes}"
            )
        elif made.version > writes:
            doubled.append(f"{key} has version {made.version} after {writes} writes")
    return lost, doubled


def restored_faults(
    acknowledged: Mapping[str, tuple[str, int]], found: Iterable[RecordFound]
) -> tuple[list[str], list[str]]:
    """What was lost of records that may have been written on after they were acknowledged, and what was doubled.
    `acknowledged` maps each key to the id and the number of writes; every write numbers the text by its version.
    """
    by_key: dict[str, list[RecordFound]] = {}
    for record in found:
        by_key.setdefault(record.key, []).append(record)
    lost: list[str] = []
    doubled = [f"{key} has become {len(made)} records" for key, made in by_key.items() if len(made) > 1]
    for key, (id, writes) in acknowledged.items():
        made = next((one for one in by_key.get(key, ()) if one.id == id), None)
        if made is None:
            lost.append(f"{key} was acknowledged as {id}, which is not there")
        elif made.version < writes:
            lost.append(f"{key} is at version {made.version}, acknowledged was {writes}")
    for made in (one for those in by_key.values() for one in those):
        if made.text != f"load {made.key} {made.version}":
            lost.append(f"{made.key} is '{made.text}' at version {made.version}")
    return lost, doubled


def version_faults(versions: Mapping[str, int], messages: Iterable[Message]) -> list[str]:
    """Changes without an event and events without a change, of records whose every change tells one. `versions` maps a
    record to the version the database has.
    """
    told: dict[str, set[int]] = {id: set() for id in versions}
    for message in messages:
        if message.record_id in told:
            told[message.record_id].add(message.version)
    faults: list[str] = []
    for id, version in versions.items():
        wanted = set(range(1, version + 1))
        faults += [f"version {one} of {id} was not told of" for one in sorted(wanted - told[id])]
        faults += [f"version {one} of {id} was told of and is not there" for one in sorted(told[id] - wanted)]
    return faults


def order_violations(messages: Iterable[Message]) -> list[str]:
    """Events that stand in the stream behind one of a later version of their record. Repeats of an event do not count."""
    last: dict[str, int] = {}
    seen: set[str] = set()
    faults: list[str] = []
    for message in messages:
        if message.event_id in seen:
            continue
        seen.add(message.event_id)
        before = last.get(message.record_id, 0)
        if message.version < before:
            faults.append(f"version {message.version} of {message.record_id} comes after {before}")
        last[message.record_id] = max(before, message.version)
    return faults


def repeated(messages: Iterable[Message]) -> list[str]:
    """Events that are in the stream more than once."""
    counted = Counter(message.event_id for message in messages)
    return [f"event {id} is in the stream {many} times" for id, many in counted.items() if many > 1]


def poison_faults(dead: Iterable[str], effects: Iterable[str], messages: Iterable[Message]) -> list[str]:
    """Events that have neither taken effect nor been kept for the operator, and such that are both. `dead` holds the ids of
    the events among the dead letters, `effects` an event's id once for each time it took effect.
    """
    kept, counted = Counter(dead), Counter(effects)
    faults: list[str] = []
    for id in sorted({message.event_id for message in messages}):
        if kept[id] + counted[id] != 1:
            faults.append(f"event {id} took effect {counted[id]} times and is {kept[id]} dead letters")
    return faults


@dataclass(frozen=True)
class Round:
    """Good answers a second in one round: of closed-loop clients, and of a load of so many times that rate."""

    capacity: float
    goodput: Mapping[float, float]

    @property
    def peak(self) -> float:
        """The most that was reached."""
        return max(self.capacity, *self.goodput.values())


AT_ONCE = 500.0
"""Milliseconds within which 99 of 100 refusals must be there."""


def overload_faults(told: Told) -> list[str]:
    """What is wrong with the answers to a load, be it ever so high: each request is answered well or refused at once."""
    faults = [f"{many} answers of status {status}" for status, many in told.wrong.items()]
    if told.lost:
        faults.append(f"{told.lost} requests were never answered")
    if told.unsent:
        faults.append(f"{told.unsent} requests found no connection, so the load was less than it should be")
    answered = len(told.good) + len(told.refused) + told.wrong.total() + told.lost
    if answered != told.sent:
        faults.append(f"{told.sent} requests have {answered} outcomes")
    if p99(told.refused) > AT_ONCE:
        faults.append(f"refusals took {p99(told.refused):.0f} ms (p99)")
    return faults


def goodput_share(rounds: Sequence[Round], factor: float) -> float:
    """Goodput at that load as a part of its round's peak: the median over the rounds."""
    return statistics.median(one.goodput[factor] / one.peak for one in rounds)


def slowdown(rounds: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """How many times as long the slowest of a hundred answers takes beside noise: the median over rounds of times without
    and with it. Infinite when nothing was answered.
    """
    return statistics.median(p99(loud) / p99(calm) if calm and loud else math.inf for calm, loud in rounds)


def p99(times: Sequence[float]) -> float:
    """The time within which 99 of 100 were; 0 for none."""
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.99))] if times else 0.0


def amplification(attempts: int, calls: int) -> float:
    """Attempts that reached a service for each call that was made. Infinite when more came than anybody asked for."""
    return attempts / calls if calls else math.inf if attempts else 0.0
