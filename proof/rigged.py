"""Started as a program: a service as `python -m` starts it, which counts its steps, dies at one of them when told to, and has
the bugs that are planted into it. Nothing of this is in the services; it is put around them in this process.

    python rigged.py MODULE FOLDER [PLANT …] -- [ARGUMENT …]

A step is what can be seen from outside when the process dies there: before and after each commit of a call, each call to
another service, each message to the broker. Their names are written to FOLDER/passed while that file exists. When FOLDER/armed
holds the name of the step that comes next, the process takes the file away and kills itself there; a number in a second line
says how many steps of that name it passes before, and a kind in a third that those alone count which are taken in a job of it.
"""

import asyncio
import importlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg
from sqlalchemy import text

import chassis.database
import chassis.events.relay
import chassis.imports.runs
import chassis.imports.tables
import chassis.jobs
import chassis.listing
import chassis.rpc.call
import chassis.rpc.server
from chassis.database import Transaction
from chassis.events import subscriptions
from chassis.events.relay import Relay
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.service import Service, main

_call: ContextVar[tuple[str, Counter[str]] | None] = ContextVar("call", default=None)
"""The running call's method and how often each kind of step was taken in it; None in background work."""
_job: ContextVar[str] = ContextVar("job", default="")
"""The kind of the running job."""
folder: Path


def step(name: str) -> None:
    """Passes a step, or dies there."""
    passed, armed = folder / "passed", folder / "armed"
    if passed.exists():
        with passed.open("a") as file:
            file.write(name + "\n")
    with suppress(FileNotFoundError):
        wanted, others, job = armed.read_text().split("\n")
        if wanted != name or (job and job != _job.get()):
            return
        if int(others) > 0:
            fresh = folder / "fewer"
            fresh.write_text(f"{name}\n{int(others) - 1}\n{job}")
            fresh.rename(armed)
        else:
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def _numbered(kind: str) -> str:
    within = _call.get()
    if within is None:
        return f"{kind} in the background"
    method, counts = within
    counts[kind] += 1
    return f"{method}, {kind} {counts[kind]}"


def count_steps() -> None:
    """Puts steps around everything that leaves a trace outside the process."""
    serve, take, commit, ask = (
        chassis.rpc.server.serve_call,
        chassis.rpc.server.serve_upload,
        chassis.database.__dict__["_unbroken"],
        chassis.rpc.call.ask,
    )
    runner: Any = chassis.jobs.Runner
    work_at: Callable[..., Awaitable[None]] = runner._one
    broker: Any = vars(chassis.events.relay)["_Broker"]
    send: Callable[..., Awaitable[None]] = broker._send
    publish: Callable[..., Awaitable[list[str]]] = broker.publish

    async def served(method: Any, *rest: Any) -> Any:
        _call.set((method.name, Counter()))
        return await serve(method, *rest)

    async def taken(method: Any, *rest: Any) -> Any:
        _call.set((method.name, Counter()))
        return await take(method, *rest)

    async def worked(self: Any, pool: Any, row: Any) -> None:
        _job.set(row["kind"])
        await work_at(self, pool, row)

    async def committed(work: Any, *rest: Any) -> None:
        name = _numbered("commit")
        step(f"before {name}")
        await commit(work, *rest)
        step(f"after {name}")

    async def asked(clients: Any, token: Any, path: str, *rest: Any) -> Any:
        name = _numbered(path.rpartition("/")[2])
        step(f"before {name}")
        answer = await ask(clients, token, path, *rest)
        step(f"after {name}")
        return answer

    async def sent(self: Any, row: Any, number: int) -> None:
        step(f"before sending {_event(row)}")
        await send(self, row, number)

    async def published(self: Any, rows: Sequence[Any]) -> list[str]:
        refusals = await publish(self, rows)
        for row, refusal in zip(rows, refusals, strict=True):
            if not refusal:
                step(f"after sending {_event(row)}")
        return refusals

    chassis.rpc.server.serve_call = served
    chassis.rpc.server.serve_upload = taken
    setattr(chassis.database, "_unbroken", committed)  # noqa: B010 (private to its module)
    chassis.rpc.call.ask = asked
    broker._send, broker.publish = sent, published
    runner._one = worked


def _event(row: Any) -> str:
    return str(row["subject"]).split(".", 3)[3]


def tally(service: Service) -> None:
    """Every event that takes effect leaves a row in the table `tally`, in the same transaction. Two effects, two rows."""
    listeners: dict[str, Any] = vars(service.subscriptions)["_listeners"]
    for name, listener in listeners.items():
        handle = listener.handle

        async def counted(event: Any, tx: Transaction, envelope: Any, handle: Any = handle) -> None:
            await handle(event, tx, envelope)
            await tx.session.execute(_TALLY, {"event": envelope.event_id, "record": envelope.record_id})

        listeners[name] = replace(listener, handle=counted)


_TALLY = text("INSERT INTO tally (event_id, record_id) VALUES (:event, :record)")


def poison(service: Service) -> None:
    """Every hundredth event has no effect here however often it comes, as one would that a handler cannot bear."""
    listeners: dict[str, Any] = vars(service.subscriptions)["_listeners"]
    seen: dict[Any, int] = {}
    for name, listener in listeners.items():
        handle = listener.handle

        async def chokes(event: Any, tx: Transaction, envelope: Any, handle: Any = handle) -> None:
            if seen.setdefault(envelope.event_id, len(seen)) % 100 == 50:
                raise ValueError("more than this handler can bear")
            await handle(event, tx, envelope)

        listeners[name] = replace(listener, handle=chokes)


def unreadable(service: Service) -> None:
    """No event can be understood here: each is given up at once."""
    listeners: dict[str, Any] = vars(service.subscriptions)["_listeners"]

    async def chokes(event: Any, tx: Transaction, envelope: Any) -> None:
        raise subscriptions.Poison("planted")

    for name, listener in listeners.items():
        listeners[name] = replace(listener, handle=chokes)


def no_dead_letters(service: Service) -> None:
    """A consumer that does not keep what it gives up."""
    consumer: Any = subscriptions.Consumer

    async def bury(self: Any, message: Msg, headers: Any, reason: str) -> None:
        await message.term()

    consumer._bury = bury


def fresh_ids(service: Service) -> None:
    """A conversion whose ids are not fixed beforehand: each attempt makes a customer of its own."""
    asked = chassis.rpc.call.ask
    made: dict[str, str] = {}

    async def ask(clients: Any, token: Any, path: str, request: Any, *rest: Any) -> Any:
        match path.rpartition("/")[2]:
            case "CreateCustomer":
                made[request.customer_id] = str(new_id())
                request.customer_id = made[request.customer_id]
            case "CreateContact":
                request.contact.customer_id = made[request.contact.customer_id]
            case "CreateOpportunity":
                request.opportunity.customer_id = made[request.opportunity.customer_id]
            case _:
                pass
        return await asked(clients, token, path, request, *rest)

    chassis.rpc.call.ask = ask


def sent_before_publishing(service: Service) -> None:
    """A relay that takes events off the outbox first and publishes them then."""
    relay: Any = Relay

    async def pass_on(self: Any, connection: Any, broker: Any) -> bool:
        sql = vars(chassis.events.relay)
        rows: list[Any] = await connection.fetch(sql["_UNSENT"], sql["BATCH"])
        await connection.execute(sql["_SENT"], [r["tenant_id"] for r in rows], [r["id"] for r in rows])
        if rows:
            await broker.publish(rows)
        return bool(rows)

    relay._pass_on = pass_on


def unnamed_messages(service: Service) -> None:
    """A relay whose messages bear no id by which the broker could know a repeat."""
    safe = vars(chassis.events.relay)["_header_safe"]

    def unnamed(headers: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in safe(headers).items() if name != "Nats-Msg-Id"}

    setattr(chassis.events.relay, "_header_safe", unnamed)  # noqa: B010 (private to its module)


def naive_cursor(service: Service) -> None:
    """A relay that reads on from the last event it has seen, as if transactions committed in the order of their numbers."""
    relay: Any = Relay

    async def pass_on(self: Any, connection: Any, broker: Any) -> bool:
        if not hasattr(self, "last"):
            self.last = await connection.fetchval(_LAST_SENT)
        rows: list[Any] = await connection.fetch(_BEHIND, self.last)
        if rows:
            await broker.publish(rows)
            sent = vars(chassis.events.relay)["_SENT"]
            await connection.execute(sent, [r["tenant_id"] for r in rows], [r["id"] for r in rows])
            self.last = rows[-1]["seq"]
        return bool(rows)

    relay._pass_on = pass_on


_LAST_SENT = "SELECT coalesce(max(seq), 0) FROM outbox WHERE sent_at IS NOT NULL"
_BEHIND = "SELECT tenant_id, id, subject, headers::text AS headers, data, record_id, seq FROM outbox WHERE seq > $1 ORDER BY seq"


def late_commit(service: Service) -> None:
    """The first call's commit waits, with its event written, until the relay has passed on a later one. No bug, but what
    finds one. Notes in FOLDER/held that it waits.
    """
    relay: Any = Relay
    pass_on, commit = relay._pass_on, chassis.database.__dict__["_unbroken"]
    passed = asyncio.Event()

    async def passing(self: Any, connection: Any, broker: Any) -> bool:
        some = await pass_on(self, connection, broker)
        if some:
            passed.set()
        return some

    async def committed(work: Any, line: Any) -> None:
        held = folder / "held"
        if _call.get() is not None and not held.exists():
            held.touch()
            passed.clear()
            await asyncio.wait_for(passed.wait(), 8)  # the server ends a transaction that is idle for longer
        await commit(work, line)

    relay._pass_on = passing
    setattr(chassis.database, "_unbroken", committed)  # noqa: B010 (private to its module)


def lost_acks(service: Service) -> None:
    """The first ack of each message is lost on its way, so that the broker delivers it again. No bug, but what finds one."""
    ack_sync: Any = Msg.ack_sync

    async def ack(self: Msg, timeout: float = 1.0) -> Msg:
        if self.metadata.num_delivered == 1:
            await self.nak()
            return self
        return await ack_sync(self, timeout)

    Msg.ack_sync = ack


def short_ack_wait(service: Service) -> None:
    """The broker delivers soon again what a service that has died had taken. No bug, but what finds one."""
    os.environ["KEHU_EVENT_LEASE_SECONDS"] = "1"


def no_inbox(service: Service) -> None:
    """A consumer without a memory: each event seems new to its inbox."""
    marks = (
        "SELECT unnest(CAST(:events AS uuid[])) WHERE CAST(:tenant AS uuid) IS NOT NULL AND :consumer <> ''"
    )
    setattr(subscriptions, "_MARK", text(marks))  # noqa: B010


def ack_before_commit(service: Service) -> None:
    """A consumer that tells the broker before its own database has the effect."""
    consumer: Any = subscriptions.Consumer

    async def take(self: Any, message: Msg) -> None:
        envelope = subscriptions.envelope_of(message.subject, dict(message.headers or {}))
        listener = self._subscriptions.listener(envelope.type)
        await message.ack_sync()
        step(f"between the ack of {message.subject.split('.', 3)[3]} and its effect")
        arrival = subscriptions.arrival(listener, envelope, message.data)
        await subscriptions.take_in(self._database, self._service, [arrival])

    async def one_by_one(self: Any, messages: list[Msg]) -> bool:
        return False

    consumer._take, consumer._take_together = take, one_by_one


def marked_before_the_effect(service: Service) -> None:
    """A consumer that commits its mark in the inbox, and then, in another transaction, the effect."""
    _in_two(mark_first=True)


def marked_after_the_effect(service: Service) -> None:
    """A consumer that commits the effect, and then, in another transaction, its mark in the inbox."""
    _in_two(mark_first=False)


_UNMARKED = (
    "SELECT unnest(CAST(:events AS uuid[]))"
    " EXCEPT SELECT event_id FROM inbox WHERE tenant_id = :tenant AND consumer = :consumer"
)


def _in_two(*, mark_first: bool) -> None:
    module = vars(subscriptions)

    async def marked(database: Any, who: Any, statement: Any, told: Any) -> set[Any]:
        async with database.transaction(who, origin="event") as tx:
            return set((await tx.session.execute(statement, told)).scalars())

    async def take_in(database: Any, service: str, arrivals: Sequence[Any]) -> int:
        done = 0
        for one in arrivals:
            sent = one.envelope
            who = Principal(
                tenant_id=sent.tenant_id, tenant=sent.tenant, person_id=sent.person_id, name=sent.person_name, service=service
            )  # fmt: skip
            told = {"tenant": sent.tenant_id, "consumer": service, "events": [sent.event_id]}
            mark, look = module["_MARK"], text(_UNMARKED)
            if not await marked(database, who, mark if mark_first else look, told):
                continue
            if mark_first:
                step(f"between the mark of {sent.subject.split('.', 3)[3]} and its effect")
            async with database.transaction(who, origin="event") as tx:
                await one.listener.handle(one.event, tx, sent)
            if not mark_first:
                step(f"between the effect of {sent.subject.split('.', 3)[3]} and its mark")
                await marked(database, who, mark, told)
            done += 1
        return done

    subscriptions.take_in = take_in


def raises(service: Service) -> None:
    """A method that has a bug: it reads what may not be there."""

    async def handler(request: Any, call: Any) -> Any:
        raise KeyError("planted")

    _replace(service, "GetLead", handler)


def unknown_state(service: Service) -> None:
    """An answer that holds what no contract knows."""

    def plant(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def answered(request: Any, call: Any) -> Any:
            answer = await handler(request, call)
            answer.status = 99
            return answer

        return answered

    method = next(face.methods["GetLead"] for face in service.faces if "GetLead" in face.methods)
    _replace(service, "GetLead", plant(method.handler))


def _replace(service: Service, name: str, handler: Callable[..., Awaitable[Any]]) -> None:
    for face in service.faces:
        if name in face.methods:
            face.methods[name] = replace(face.methods[name], handler=handler)


def forgotten_cursor(service: Service) -> None:
    """An import that has its rows and its place in the file in two transactions: the rows first."""
    run: Any = vars(chassis.imports.runs)["Run"]

    async def save(self: Any, drafts: list[Any]) -> None:
        fit = [draft for draft in drafts if draft.fit]
        rows = [
            vars(chassis.imports.runs)["ImportRow"](draft.row.number, dict(draft.values)) for draft in fit
        ]
        async with self._database.transaction(self._who) as tx:
            outcomes = await self._importer.save(tx, rows, self._options) if rows else ()
        step("between the rows and the cursor")
        async with self._database.transaction(self._who) as tx:
            found = await tx.find(chassis.imports.tables.ImportRun, self._id)
            await self._count(tx, found, drafts, dict(zip(map(id, fit), outcomes, strict=True)))
            if found.processed_rows == found.total_rows:
                await vars(chassis.imports.runs)["_end"](tx, found, "SUCCEEDED")
        self._done += len(drafts)

    run._save = save


def writes_first(service: Service) -> None:
    """A use case that writes first and asks then whether the caller may: what it wrote stays when it refuses."""
    serve = chassis.rpc.server.serve_call

    async def served(method: Any, request: Any, call: Any, timeout: float) -> Any:
        if method.name == "QualifyLead":
            async with call.database.transaction(call.who) as tx:
                await tx.session.execute(_TOUCH, {"id": request.id})
        return await serve(method, request, call, timeout)

    chassis.rpc.server.serve_call = served


_TOUCH = text("UPDATE leads SET updated_at = clock_timestamp() WHERE id = :id")


def shows_everything(service: Service) -> None:
    """Lists and gets that forget whose the records are."""

    def everything(*who_and_what: Any, first: int, shares: Any = None) -> tuple[str, list[object]]:
        return "true", []

    chassis.listing.visible_text = everything


PLANTS: dict[str, Callable[[Service], None]] = {
    plant.__name__: plant
    for plant in (
        tally,
        poison,
        unreadable,
        no_dead_letters,
        fresh_ids,
        sent_before_publishing,
        unnamed_messages,
        naive_cursor,
        late_commit,
        lost_acks,
        short_ack_wait,
        no_inbox,
        ack_before_commit,
        marked_before_the_effect,
        marked_after_the_effect,
        raises,
        unknown_state,
        forgotten_cursor,
        writes_first,
        shows_everything,
    )
}

if __name__ == "__main__":
    module, where, *rest = sys.argv[1:]
    end = rest.index("--")
    plants, arguments = rest[:end], rest[end + 1 :]
    folder = Path(where)
    sys.argv = [module, *arguments]
    rigged: Service = importlib.import_module(f"{module}.service").SERVICE
    count_steps()
    for plant in plants:
        PLANTS[plant](rigged)
    main(rigged)
