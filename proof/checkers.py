"""What must hold after faults, as plain functions from what was acknowledged and what was found to the faults in it."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

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
