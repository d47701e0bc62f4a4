"""The service's own PostgreSQL: transactions bound to a tenant, and the short path for reads.

A transaction sets the tenant inside itself, so that row-level security shows that tenant's rows and no others, and nothing of
it is left on the connection (PgBouncer may hand it to another tenant). Leaving the block commits; nobody calls `commit()`.
Events are written last, after the records they speak of are locked or changed, so that the events of one record stand in the
outbox in the order of its changes.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import TextClause, exc, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from chassis import telemetry
from chassis.custom_fields.index import keep_index
from chassis.custom_fields.known import Definitions, Known
from chassis.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    EtagMismatch,
    Invalid,
    NotFound,
    Problem,
    Unavailable,
)
from chassis.events.event import Catalog, Event, OwnedEvent
from chassis.history import stamp
from chassis.ids import new_id
from chassis.principal import Act, Principal
from chassis.records import EPOCH, Owned, Record, RecordT, Shareable, etag
from chassis.shares.entries import lasts
from chassis.shares.index import keep_shares
from chassis.value_lists.kinds import Lists
from chassis.visibility import covers, visible, visible_text

log = logging.getLogger(__name__)

__all__ = ["Database", "Transaction", "read_across", "translate", "visible", "visible_text"]

ConstraintProblems = Mapping[str, Callable[[], Problem]]
"""What a broken constraint means in the words of the service, by the constraint's name."""

_BEGIN_READ = "BEGIN READ ONLY; SET LOCAL kehu.tenant = '"
_RETRY = 1.0
_KNOWN_LISTS = 1000
CONNECTING = 3.0
"""Seconds to open a connection."""
SILENCE = 8.0
"""Seconds after which a statement is given up and its connection with it. The server ends statements after five: what takes
longer is a network that has lost the connection, and would else keep it, and whoever waits for it, for ever."""
_FAREWELL = 3.0
"""Seconds in which all connections must be closed when the service ends."""
_LEAVING = 1.0
"""Seconds a transaction that has failed may take to roll back, or a commit that nobody waits for any more to end."""


def _origin(who: Principal) -> str:
    """By which way somebody's changes come: whoever has a session sits at a screen, and an API key has none."""
    if who.service is not None:
        return "service"
    return "api" if who.session_id is None else "screen"


class Transaction:
    """One unit of work for one caller. `now` is its one point in time."""

    def __init__(self, database: "Database", who: Principal, session: AsyncSession, origin: str) -> None:
        self.database = database
        self.who = who
        self.session = session
        self.origin = origin or _origin(who)
        self.now = datetime.now(UTC)
        self._events: list[tuple[UUID, Event, Record]] = []
        self._history: list[dict[str, Any]] = []
        self._customized: list[tuple[Record, bool]] = []
        self._shared: list[Shareable] = []
        self.seen: frozenset[tuple[str, str]] = frozenset()
        """Record type and id of what the request's custom fields refer to, as far as the caller may see it."""
        self.definitions: dict[str, Definitions] = {}
        """The definitions of custom fields that cannot change before the transaction ends, by record type."""
        self.lists: Lists | None = None
        """The value lists that cannot change before the transaction ends, once they are asked for."""
        self._bulk: list[Record] | None = None
        self._at_last: dict[str, Callable[[], Awaitable[None]]] = {}
        self.after_commit: list[Callable[[], None]] = []
        """What to wake when the transaction has committed; nothing that could fail."""
        self._entry = stamp(
            session.sync_session, who, self.now, self.origin, telemetry.trace_id(), self._history, self._customized,
            self._shared,
        )  # fmt: skip

    def add(self, row: Record) -> None:
        """Takes a new row in, stamped with the tenant, the caller and the time."""
        row.tenant_id = self.who.tenant_id
        row.created_by = row.updated_by = self.who.person_id
        if row.created_at == EPOCH:
            row.created_at = self.now
        row.updated_at = self.now
        if self._bulk is None:
            self.session.add(row)
        else:
            self._bulk.append(row)

    @asynccontextmanager
    async def in_bulk(self) -> AsyncGenerator[None]:
        """New rows added within are written together at its end, as `insert_all` does: for imports. Queries within do not see
        them yet, and what is changed in them afterwards is not written."""
        self._bulk = []
        try:
            yield
            rows = self._bulk
        finally:
            self._bulk = None
        for _, many in groupby(rows, type):
            await self.insert_all(list(many))

    async def insert_all(self, rows: Sequence[Record]) -> None:
        """Writes many new rows of one table at once, past the session, at a third of the cost of `add`: for imports.

        They are stamped and have their history like any other row, and are not tracked: what is changed in them afterwards
        is not written. Raises what their constraints mean at once, and not at the end.
        """
        if not rows:
            return
        for row in rows:
            values = vars(row)
            values["tenant_id"] = self.who.tenant_id
            values["created_by"] = values["updated_by"] = self.who.person_id
            values["created_at"] = self.now if values["created_at"] == EPOCH else values["created_at"]
            values["updated_at"] = self.now
            if row.record_type:
                self._history.append(self._entry(row, "created", {}))
                if values.get("custom_fields"):
                    self._customized.append((row, True))
        insert = _insert(type(rows[0]))
        connection = await self.session.connection()
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.executemany(insert.sql, [insert.values(vars(row)) for row in rows])

    async def find(self, table: type[RecordT], id: UUID, *, lock: bool = True) -> RecordT | None:
        """The row of that id whoever asks, locked until the end of the transaction; None when there is none or it is deleted."""
        row = await self.session.get(
            table, (self.who.tenant_id, id), with_for_update=lock, populate_existing=lock
        )
        return None if row is None or row.deleted_at is not None else row

    async def get(
        self,
        table: type[RecordT],
        id: UUID,
        *,
        right: str,
        act: Act = Act.WRITE,
        lock: bool = True,
        shares: bool = True,
    ) -> RecordT:
        """The row of that id, locked until the end of the transaction, if the caller may do that with it; without `shares`, by a
        right of their own.

        Raises NotFound when there is none or the caller may not even read it, Denied when reading, or what a share lets
        them do, is all the caller may.
        """
        row = await self.find(table, id, lock=lock)
        if row is None or not (covers(row, self.who, right, Act.READ) or covers(row, self.who, right, act)):
            raise NotFound(table.record_type or table.__name__.lower(), id)
        if not covers(row, self.who, right, act):
            raise Denied(
                f"You may see this {table.record_type} but not change it.", reason="RECORD_READ_ONLY"
            )
        if not shares and not covers(row, self.who, right, act, shares=False):
            raise shared_only(table.record_type)
        return row

    def check_etag(self, row: Record, expected: str) -> None:
        """Raises EtagMismatch when the caller has read another version than the present one. Empty is unchecked."""
        if expected and expected != etag(row.version):
            raise EtagMismatch

    def delete(self, row: Record) -> None:
        """Marks the row as deleted; it is found no longer and can be restored."""
        row.deleted_at = self.now

    def record(self, event: Event, on: Record) -> None:
        """Notes what has happened to a record; it goes to the bus when, and only when, this transaction commits."""
        self._events.append((new_id(), event, on))

    def say(self, row: Record, changes: Mapping[str, list[Any]]) -> None:
        """Says in the history of a record what was changed in it past the session; its version is the one after the change."""
        self._history.append(self._entry(row, "updated", dict(changes)))

    async def hold(self, name: str, *, shared: bool = False) -> None:
        """Waits until nobody else of the tenant holds that name, and holds it until the transaction has ended. Several may hold
        it at once who all take it `shared`. Service by service: a name means nothing in another's database."""
        await self.session.execute(_SHARE if shared else _HOLD, {"key": f"{self.who.tenant_id} {name}"})

    def at_last(self, name: str, do: Callable[[], Awaitable[None]]) -> None:
        """Does that when all records are written, once for each name and in the order of names: for rows that all of a tenant
        have in common, so that nobody who holds one waits for anything else."""
        self._at_last[name] = do

    async def enqueue(
        self, kind: str, payload: Mapping[str, Any], *, due_at: datetime | None = None, key: str | None = None
    ) -> None:
        """A durable job that runs after this transaction has committed, not before `due_at`.

        A second job of the same kind and `key` is not made while the first waits.
        """
        id = new_id()
        await self.session.execute(
            _JOB,
            {
                "tenant_id": self.who.tenant_id, "id": id, "kind": kind, "key": key or str(id), "tenant": self.who.tenant,
                "person_id": self.who.person_id, "person_name": self.who.name, "team_id": self.who.team_id,
                "payload": orjson.dumps(dict(payload)).decode(), "due_at": due_at or self.now, "now": self.now,
            },
        )  # fmt: skip
        if due_at is None or due_at <= self.now:
            self.after_commit.append(self.database.jobs_waiting.set)

    def mark(self) -> tuple[int, int]:
        """Where it stands, for `take_back`."""
        return len(self._events), len(self._history)

    def take_back(self, row: Record, mark: tuple[int, int]) -> bool:
        """Drops what was set in a row since that mark by a use case that has failed, so that others of the transaction can be
        kept. False when something was recorded or written of it: then only the end of the transaction takes it back."""
        events, written = mark
        if len(self._events) > events or any(one["record_id"] == row.id for one in self._history[written:]):
            return False
        self.session.expunge(row)
        return True

    async def dequeue(self, kind: str, key: str) -> None:
        """Takes a job back that waits, if it is there."""
        await self.session.execute(_NO_JOB, {"kind": kind, "key": key})

    async def changes(self) -> list[dict[str, Any]]:
        """What the history will say of this transaction as it stands now, as rows of its table."""
        await self.session.flush()
        return list(self._history)

    async def settle(self) -> None:
        """Writes what the transaction has gathered: rows, their history, and last of all the events."""
        await self.session.flush()
        if self._customized:
            await keep_index(self, self._customized)
            self._customized.clear()
        if self._shared:
            await keep_shares(self, self._shared)
            self._shared.clear()
        if self._history:
            await self._write_rows(_HISTORY, self._history)
            self._history.clear()
        for _, do in sorted(self._at_last.items()):
            await do()
        self._at_last.clear()
        if self._events:
            await self._write_rows(_OUTBOX, [self._outbox_row(*one) for one in self._events])
            self._events.clear()
            if not self.database.relays_here:
                await self.session.execute(_WAKE_RELAY)
            self.after_commit.append(self.database.events_waiting.set)

    async def _write_rows(self, statement: TextClause, rows: Sequence[Mapping[str, Any]]) -> None:
        payload = orjson.dumps(rows, default=str).decode()  # asyncpg has a UUID class of its own
        await self.session.execute(statement, {"rows": payload})

    def _outbox_row(self, id: UUID, event: Event, on: Record) -> dict[str, Any]:
        catalog = self.database.catalog
        wire = catalog.wire(event)
        subject = f"kehu.{self.who.tenant}.{catalog.domain}.{wire.suffix}"
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(id),
            "ce-type": wire.type,
            "ce-source": catalog.domain,
            "ce-subject": str(on.id),
            "ce-time": self.now.isoformat(),
            "ce-datacontenttype": "application/json",
            "ce-tenant": self.who.tenant,
            "ce-tenantid": str(self.who.tenant_id),
            "kehu-version": str(on.version),
            "kehu-person": str(self.who.person_id),
            "kehu-right": wire.right,
        }
        if self.who.name:
            headers["kehu-name"] = self.who.name
        holder = on if isinstance(on, Owned) else event if isinstance(event, OwnedEvent) else None
        if holder is not None:
            # A record that has no owner now is another thing than a kind of record that has none: only those
            # whose reach is ALL see it.
            headers["kehu-owner"] = str(holder.owner_id) if holder.owner_id is not None else "none"
            if holder.team_id is not None:
                headers["kehu-team"] = str(holder.team_id)
        if wire.personal and isinstance(event, OwnedEvent):
            headers["kehu-for"] = str(event.owner_id)
        if isinstance(on, Shareable) and on.shared_with:
            headers["kehu-shared"] = ",".join(one["to"] for one in on.shared_with if lasts(one, self.now))
        parent = telemetry.traceparent()
        if parent:
            headers["traceparent"] = parent
        return {
            "tenant_id": self.who.tenant_id, "id": id, "tenant": self.who.tenant, "subject": subject, "type": wire.type,
            "record_id": on.id, "headers": headers, "data": wire.encode(event).decode(), "created_at": self.now,
        }  # fmt: skip


def shared_only(record_type: str) -> Denied:
    """What one has by a share is no right to dispose of the record."""
    return Denied(
        f"This {record_type} is shared with you: only whoever has a right to it of their own may do this.",
        reason="SHARED_ONLY",
    )


@dataclass(frozen=True)
class _Insert:
    """How rows of one table are written by the driver, without SQLAlchemy working out each row's parameters anew."""

    sql: str
    columns: tuple[str, ...]
    processors: tuple[tuple[int, Callable[[Any], Any]], ...]
    """What a value becomes on its way to the driver, by its place, for those types that need it."""

    def values(self, row: Mapping[str, Any]) -> list[Any]:
        """The parameters of one row."""
        values = [row[name] for name in self.columns]
        for place, process in self.processors:
            values[place] = process(values[place])
        return values


def _insert(record: type[Record]) -> _Insert:
    found = _inserts.get(record)
    if found is None:
        found = _inserts[record] = _compiled_insert(record)
    return found


def _compiled_insert(record: type[Record]) -> _Insert:
    dialect: Any = asyncpg_dialect(json_serializer=_json_text)
    table: Any = getattr(record, "__table__")  # noqa: B009 (SQLModel adds it at run time)
    compiled: Any = table.insert().compile(dialect=dialect)
    columns = tuple(compiled.positiontup)
    found = [
        (place, table.columns[name].type.dialect_impl(dialect).bind_processor(dialect))
        for place, name in enumerate(columns)
    ]
    return _Insert(str(compiled), columns, tuple((place, process) for place, process in found if process))


_inserts: dict[type[Record], _Insert] = {}


# The rows travel as one JSON parameter: one short statement whatever their number, and no limit of parameters.
_OUTBOX = text(
    "INSERT INTO outbox (tenant_id, id, tenant, subject, type, record_id, headers, data, created_at)"
    " SELECT tenant_id, id, tenant, subject, type, record_id, headers, convert_to(data, 'UTF8'), created_at"
    " FROM ROWS FROM (jsonb_to_recordset(CAST(:rows AS jsonb)) AS (tenant_id uuid, id uuid, tenant text, subject text,"
    " type text, record_id uuid, headers jsonb, data text, created_at timestamptz)) WITH ORDINALITY"
    " AS r(tenant_id, id, tenant, subject, type, record_id, headers, data, created_at, place) ORDER BY place"
)
_HISTORY = text(
    "INSERT INTO history (tenant_id, id, record_type, record_id, version, action, changes, at, by, by_name, origin, trace_id)"
    " SELECT tenant_id, id, record_type, record_id, version, action, changes, at, by, by_name, origin, trace_id"
    " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(tenant_id uuid, id uuid, record_type text, record_id uuid,"
    " version integer, action text, changes jsonb, at timestamptz, by uuid, by_name text, origin text, trace_id text)"
)

_JOB = text(
    "INSERT INTO jobs (tenant_id, id, kind, key, tenant, person_id, person_name, team_id, payload, due_at, created_at)"
    " VALUES (:tenant_id, :id, :kind, :key, :tenant, :person_id, :person_name, :team_id, CAST(:payload AS jsonb), :due_at, :now)"
    " ON CONFLICT (tenant_id, kind, key) DO UPDATE"
    " SET due_at = excluded.due_at, state = 'waiting', payload = excluded.payload, attempts = 0"
)
_NO_JOB = text("DELETE FROM jobs WHERE kind = :kind AND key = :key AND state = 'waiting'")
_HOLD = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_SHARE = text("SELECT pg_advisory_xact_lock_shared(hashtextextended(:key, 0))")
_WAKE_RELAY = text("SELECT pg_notify('kehu_outbox', '')")


class Database:
    """Connections of one service, as the role that row-level security binds.

    Make it inside the running event loop; `close` ends it.
    """

    def __init__(
        self,
        url: str,
        catalog: Catalog,
        *,
        pool_size: int = 6,
        acquire_timeout: float = 0.5,
        constraints: ConstraintProblems | None = None,
    ) -> None:
        self.catalog = catalog
        self.constraints = constraints or {}
        self.events_waiting = asyncio.Event()
        self.jobs_waiting = asyncio.Event()
        self.known_fields = Known()
        """The definitions of custom fields that this process knows."""
        self.known_lists: OrderedDict[UUID, Lists] = OrderedDict()
        """The value lists that this process knows, by tenant."""
        self.relays_here = False
        """Whether the outbox relay runs in this process; if not, it is woken through the database."""
        self._url = url
        self._size = pool_size
        self._timeout = acquire_timeout
        self._reads: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()
        self._engine: AsyncEngine = create_async_engine(
            url.replace("postgresql://", "postgresql+asyncpg://", 1),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=acquire_timeout,
            pool_pre_ping=False,
            pool_use_lifo=True,
            json_serializer=_json_text,
            json_deserializer=orjson.loads,
            connect_args={"timeout": CONNECTING, "command_timeout": SILENCE},
        )

    @asynccontextmanager
    async def transaction(self, who: Principal, *, origin: str = "") -> AsyncGenerator[Transaction]:
        """A transaction for that caller. Commits on leaving the block, rolls back when the block raises. `origin` says by which
        way its changes come, where the caller does not.

        Raises Unavailable when no connection can be had, Conflict when another transaction holds the same rows, and what
        the service's constraints mean.
        """
        line = _Line()
        try:
            async with AsyncSession(self._engine, expire_on_commit=False, autoflush=True) as session:
                try:
                    await _bind(session, who, line)
                    tx = Transaction(self, who, session, origin)
                    yield tx
                    await tx.settle()
                    await _unbroken(session.commit(), line)
                except (exc.DBAPIError, asyncpg.InternalClientError) as error:
                    line.cut_soon()
                    if isinstance(_cause(error), asyncpg.InternalClientError):
                        # The driver has lost its place in the protocol, as when the server is killed in the middle of a
                        # statement: nobody may get this connection again.
                        await session.invalidate()
                    raise
                except BaseException:
                    line.cut_soon()
                    raise
        except (
            exc.SQLAlchemyError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
            TimeoutError,
        ) as error:
            raise translate(error, self.constraints) from error
        finally:
            line.free()
        for wake in tx.after_commit:
            wake()

    async def read(self, who: Principal, sql: str, *args: object) -> list[asyncpg.Record]:
        """Rows of that caller's tenant by a plain statement, in a read-only transaction of its own.

        Asked once more when the connection breaks: a read bears a repeat.
        """
        try:
            try:
                return await self._read(who, sql, args)
            except (
                asyncpg.PostgresConnectionError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
                ConnectionError,
            ):
                return await self._read(who, sql, args)
        except (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
            TimeoutError,
        ) as error:
            raise translate(error, self.constraints) from error

    async def _read(self, who: Principal, sql: str, args: tuple[object, ...]) -> list[asyncpg.Record]:
        pool = self._reads or await self._open()
        async with pool.acquire(timeout=self._timeout) as connection:
            # Composed of a UUID object's text, which is hex and hyphens; one round trip instead of two.
            await connection.execute(_BEGIN_READ + str(who.tenant_id) + "'")
            rows = await connection.fetch(sql, *args)
            # After a failure the pool rolls back, and waits no longer for that than for a connection.
            await connection.execute("COMMIT")
            return rows

    async def ping(self) -> None:
        """Raises Unavailable when the database does not answer."""
        try:
            pool = self._reads or await self._open()
            async with pool.acquire(timeout=self._timeout) as connection:
                await connection.execute("SELECT 1", timeout=self._timeout)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise translate(error, self.constraints) from error

    async def lax(self) -> str:
        """The setting, if any, by which the database may acknowledge what it has not written to disk. Raises Unavailable."""
        try:
            pool = self._reads or await self._open()
            async with pool.acquire(timeout=self._timeout) as connection:
                for setting in ("synchronous_commit", "fsync", "full_page_writes"):
                    if await connection.fetchval("SELECT current_setting($1)", setting) == "off":
                        return setting
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise translate(error, self.constraints) from error
        return ""

    async def _open(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._reads is None:
                self._reads = await asyncpg.create_pool(
                    self._url, min_size=0, max_size=self._size, init=_read_json, reset=_leave,
                    timeout=CONNECTING, command_timeout=SILENCE,
                )  # fmt: skip
        return self._reads

    def remember_lists(self, tenant_id: UUID, lists: Lists) -> None:
        """Keeps a tenant's value lists for whoever writes next, those of a thousand tenants at most."""
        self.known_lists[tenant_id] = lists
        self.known_lists.move_to_end(tenant_id)
        if len(self.known_lists) > _KNOWN_LISTS:
            self.known_lists.popitem(last=False)

    async def close(self) -> None:
        """Ends all connections, those that do not answer without a farewell."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._engine.dispose(), _FAREWELL)
        if self._reads is not None:
            try:
                await asyncio.wait_for(self._reads.close(), _FAREWELL)
            except TimeoutError:
                self._reads.terminate()


async def read_across(relay_url: str, sql: str, *args: object) -> list[asyncpg.Record]:
    """Rows that the relay role sees, whosever they are: for what has to be found before a tenant is known.

    On a connection of its own. Raises Unavailable.
    """
    try:
        connection: Any = await asyncpg.connect(relay_url, timeout=CONNECTING, command_timeout=SILENCE)
        try:
            return await connection.fetch(sql, *args)
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise translate(error, {}) from error


class _Line:
    """The connection of a transaction. It is cut when it stays silent although the transaction has failed: whoever is let go
    must not wait for a network that has nothing to say, and neither must the pool."""

    def __init__(self) -> None:
        self.driver: Any = None
        self._cut: asyncio.TimerHandle | None = None

    def cut(self) -> None:
        """Ends the connection at once; what waits for it fails."""
        if self.driver is not None:
            self.driver.terminate()

    def cut_soon(self) -> None:
        """Ends the connection unless it is free within `_LEAVING` seconds."""
        if self._cut is None:
            self._cut = asyncio.get_running_loop().call_later(_LEAVING, self.cut)

    def free(self) -> None:
        """The pool has it back."""
        if self._cut is not None:
            self._cut.cancel()
        self.driver = None


async def _bind(session: AsyncSession, who: Principal, line: _Line) -> None:
    """Sets the tenant; once more when the pooled connection had died unnoticed, for nothing has been done on it yet."""
    try:
        await _bind_once(session, who, line)
    except exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        await session.rollback()
        await _bind_once(session, who, line)


async def _bind_once(session: AsyncSession, who: Principal, line: _Line) -> None:
    connection = await session.connection()
    assert connection.sync_connection is not None
    line.driver = connection.sync_connection.connection.driver_connection
    await connection.execute(_SET_TENANT, {"tenant": str(who.tenant_id)})


_SET_TENANT = text("SELECT set_config('kehu.tenant', :tenant, true)")


def _json_text(value: object) -> str:
    return orjson.dumps(value).decode()


async def _leave(connection: Any) -> None:
    """Nothing is ever set on the session, so giving a connection back needs no round trip, unless a call was cancelled."""
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


async def _read_json(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=_json_text, decoder=orjson.loads, schema="pg_catalog"
    )  # fmt: skip


async def _unbroken(work: Any, line: _Line) -> None:
    """Lets a commit finish even when the caller hangs up: a commit cut in two has an unknown end. It has that, too, when the
    database is silent, and nobody gains by waiting."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_LEAVING)
        if not task.done():
            line.cut()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at: whoever wanted to know has gone
        raise


def _cause(error: BaseException) -> BaseException:
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def translate(error: BaseException, constraints: ConstraintProblems) -> Problem:
    """What a failure of the database means to the caller. Nothing of the database's own words leaks."""
    cause = _cause(error)
    if isinstance(cause, asyncpg.IntegrityConstraintViolationError):
        name = str(getattr(cause, "constraint_name", "") or "")
        if name in constraints:
            return constraints[name]()
        if isinstance(cause, asyncpg.UniqueViolationError):
            return AlreadyExists("ALREADY_EXISTS", "There is one with the same key already.")
        # The name of the rule is for the log: it tells of tables. Who reads this line finds a check that a use case lacks.
        log.warning("the database's rule %s was broken", name)
        return Invalid("request", "breaks a rule of the data that is kept", reason="RULE_BROKEN")
    if isinstance(
        cause, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError | asyncpg.SerializationError
    ):
        return Conflict(
            "Somebody else is changing the same record now: try again.",
            reason="RECORD_BUSY",
            retry_after=_RETRY,
        )
    if isinstance(cause, asyncpg.QueryCanceledError):
        return Unavailable("The database took too long.", reason="DATABASE_SLOW", retry_after=_RETRY)
    if isinstance(cause, asyncpg.DataError):
        return Invalid("request", "holds a value beyond what can be stored", reason="VALUE_OUT_OF_RANGE")
    if isinstance(cause, _LOST) or isinstance(error, exc.TimeoutError):
        return Unavailable(
            "The database does not answer now.", reason="DATABASE_UNAVAILABLE", retry_after=_RETRY
        )
    raise error


_LOST = (
    OSError,
    TimeoutError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
