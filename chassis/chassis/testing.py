"""A service under test: real database, real broker, real gRPC, on free ports of the loopback interface."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import grpc
import grpc.aio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from jwt.algorithms import OKPAlgorithm
from kehu.attachments.v1 import attachments_pb2 as files_pb
from kehu.notes.v1 import notes_pb2
from pydantic import SecretStr

from chassis.custom_fields.known import Known
from chassis.database import Database, Transaction
from chassis.errors import Code, Problem
from chassis.events.event import Envelope
from chassis.events.subscriptions import Arrival, Subscriptions
from chassis.ids import new_id
from chassis.listing import PageTokens
from chassis.migrations import migrate_async
from chassis.principal import IDENTITY, Issuer, Principal, Reach, Rights
from chassis.rpc.status import DETAILS, STATUS, details, problem_of
from chassis.service import Running, Service
from chassis.settings import Settings

A = TypeVar("A", bound=Message)

RIGHTS = (
    "people", "customers", "leads", "opportunities", "products", "orders", "campaigns", "tickets", "reports", "settings",
    "exports", "privacy",
)  # fmt: skip
ISSUERS = (
    "identity",
    "gateway",
    "customers",
    "leads",
    "sales",
    "marketing",
    "servicedesk",
    "analytics",
    "notifications",
    "operator",
)
EVERYTHING = {right: Rights(Reach.ALL, Reach.ALL) for right in RIGHTS}


@dataclass
class Keys:
    """Key pairs of issuers, made for one run of tests."""

    folder: Path
    issuers: dict[str, Issuer] = field(default_factory=dict[str, Issuer])

    def __post_init__(self) -> None:
        # A verifier reads the file once: whoever may sign in a test is known before.
        for name in ISSUERS:
            self.issuer(name)

    def issuer(self, name: str) -> Issuer:
        """That issuer's key; made, written to the folder and published on first use."""
        if name not in self.issuers:
            self.issuers[name] = Issuer(name, Ed25519PrivateKey.generate())
            self._write()
        return self.issuers[name]

    @property
    def jwks(self) -> Path:
        """The file of public keys."""
        return self.folder / "jwks.json"

    def private(self, name: str) -> Path:
        """The file of that issuer's private key."""
        self.issuer(name)
        return self.folder / f"{name}.pem"

    def _write(self) -> None:
        import json

        keys: list[dict[str, object]] = []
        for name, issuer in self.issuers.items():
            keys.append(
                {
                    **OKPAlgorithm.to_jwk(issuer.private_key.public_key(), as_dict=True),
                    "kid": name,
                }
            )
            pem = issuer.private_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            (self.folder / f"{name}.pem").write_bytes(pem)
        self.jwks.write_text(json.dumps({"keys": keys}))


def somebody(
    tenant: str = "acme",
    *,
    rights: dict[str, Rights] | None = None,
    team: UUID | None = None,
    name: str = "Ann Li",
) -> Principal:
    """A signed-in person; with all rights unless told otherwise. The same tenant name gives the same tenant."""
    from uuid import NAMESPACE_DNS, uuid5

    return Principal(
        tenant_id=uuid5(NAMESPACE_DNS, tenant), tenant=tenant, person_id=new_id(), name=name, team_id=team,
        team_ids=frozenset([team] if team else []), rights=EVERYTHING if rights is None else rights,
    )  # fmt: skip


@dataclass
class Harness:
    """A running service and a way to call it as anybody."""

    running: Running
    keys: Keys
    channel: grpc.aio.Channel

    def token(self, who: Principal) -> str:
        """A token for that principal, from identity or from the service it acts as."""
        return self.keys.issuer(who.service or IDENTITY).issue(who)

    async def ask(self, who: Principal | None, method: str, request: Message, answer: type[A]) -> A:
        """Calls `kehu.leads.v1.LeadService/GetLead`. Raises the Problem the service answers with."""
        channel: Any = self.channel
        call = channel.unary_unary(
            "/" + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        metadata = [("authorization", f"Bearer {self.token(who)}")] if who else []
        try:
            return await call(request, metadata=metadata, timeout=15)
        except grpc.aio.AioRpcError as error:
            raise problem_of(error) from error

    def uploading(
        self,
        who: Principal | None,
        method: str,
        parts: AsyncIterable[Message] | Iterable[Message],
        answer: type[Message],
    ) -> Any:
        """The running call of a method that is asked in parts."""
        channel: Any = self.channel
        call = channel.stream_unary(
            "/" + method, request_serializer=_written, response_deserializer=answer.FromString
        )
        metadata = [("authorization", f"Bearer {self.token(who)}")] if who else []
        return call(parts, metadata=metadata, timeout=60)

    async def upload(
        self,
        who: Principal | None,
        method: str,
        parts: AsyncIterable[Message] | Iterable[Message],
        answer: type[A],
    ) -> A:
        """What such a call answers. Raises the Problem the service answers with."""
        try:
            return await self.uploading(who, method, parts, answer)
        except grpc.aio.AioRpcError as error:
            raise problem_of(error) from error

    def opened(self, who: Principal | None, method: str, request: Message, part: type[A]) -> Any:
        """The running call of a method that answers in parts."""
        channel: Any = self.channel
        call = channel.unary_stream(
            "/" + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=part.FromString,
        )
        metadata = [("authorization", f"Bearer {self.token(who)}")] if who else []
        return call(request, metadata=metadata, timeout=60)

    async def parts(self, who: Principal | None, method: str, request: Message, part: type[A]) -> list[A]:
        """All parts of such an answer. Raises the Problem the service answers with."""
        try:
            return [one async for one in self.opened(who, method, request, part)]
        except grpc.aio.AioRpcError as error:
            raise problem_of(error) from error


def arriving(
    subscriptions: Subscriptions, event: Message, who: Principal, *, record_id: UUID | None = None, version: int = 1,
    at: datetime | None = None, event_id: UUID | None = None,
) -> Arrival:  # fmt: skip
    """The event as it arrives from the bus at whoever has these subscriptions; `who` caused it, now unless said otherwise, by
    changing a record that nobody knows unless said otherwise."""
    type_name = event.DESCRIPTOR.full_name
    listener = subscriptions.listener(type_name)
    assert listener is not None
    envelope = Envelope(
        event_id=event_id or new_id(), type=type_name, source=listener.domain, subject="", tenant_id=who.tenant_id,
        tenant=who.tenant, record_id=record_id or new_id(), version=version, time=at or datetime.now(UTC),
        person_id=who.person_id, person_name=who.name, traceparent="",
    )  # fmt: skip
    return Arrival(listener, envelope, event)


def _written(message: Message) -> bytes:
    return message.SerializeToString()


@dataclass(frozen=True)
class NotesAndFiles:
    """Notes and files on the records of a service under test: what is put on a record is both, of one text."""

    service: Harness
    package: str
    """As kehu.leads.v1."""

    async def put(self, who: Principal, record_type: str, record_id: str, text: str) -> None:
        """A note and a file of that text. Raises the Problem the service answers with."""
        note = notes_pb2.CreateNoteRequest(
            note=notes_pb2.Note(record_type=record_type, record_id=record_id, text=text)
        )
        await self.service.ask(who, f"{self.package}.NoteService/CreateNote", note, notes_pb2.Note)
        file = files_pb.CreateAttachmentRequest(
            record_type=record_type, record_id=record_id, filename=f"{text}.txt", content=text.encode(), complete=True
        )  # fmt: skip
        method = f"{self.package}.AttachmentService/CreateAttachment"
        await self.service.upload(who, method, [file], files_pb.Attachment)

    async def on(self, who: Principal, record_type: str, record_id: str) -> list[str]:
        """What is on that record: the texts of its notes, which are those of its files. Raises the Problem the service answers
        with."""
        asked: dict[str, Any] = {"record_type": record_type, "record_id": record_id}
        notes = await self.service.ask(
            who, f"{self.package}.NoteService/ListNotes", notes_pb2.ListNotesRequest(**asked), notes_pb2.ListNotesResponse
        )  # fmt: skip
        files = await self.service.ask(
            who, f"{self.package}.AttachmentService/ListAttachments", files_pb.ListAttachmentsRequest(**asked),
            files_pb.ListAttachmentsResponse,
        )  # fmt: skip
        texts = sorted(note.text for note in notes.notes)
        assert texts == sorted(file.filename.removesuffix(".txt") for file in files.attachments)
        assert notes.total_count == files.total_count == len(texts)
        return texts

    async def delete(self, who: Principal, record_type: str, record_id: str, text: str) -> None:
        """The note and the file of that text."""
        found = await self.service.running.database.read(
            who, "SELECT 'Note' AS kind, id FROM notes WHERE of_type = $1 AND record_id = $2 AND text = $3 UNION ALL"
            " SELECT 'Attachment', id FROM attachments WHERE of_type = $1 AND record_id = $2 AND filename = $3 || '.txt'",
            record_type, UUID(record_id), text,
        )  # fmt: skip
        for row in found:
            request = (
                notes_pb2.DeleteNoteRequest if row["kind"] == "Note" else files_pb.DeleteAttachmentRequest
            )
            method = f"{self.package}.{row['kind']}Service/Delete{row['kind']}"
            await self.service.ask(who, method, request(id=str(row["id"])), Empty)

    async def rows(self, who: Principal) -> int:
        """How many notes and files the tenant has, deleted ones among them."""
        counted = "SELECT (SELECT count(*) FROM notes) + (SELECT count(*) FROM attachments) AS n"
        return int((await self.service.running.database.read(who, counted))[0]["n"])

    def kept(self, who: Principal) -> list[Path]:
        """The bytes that are kept of the tenant's files."""
        running = self.service.running
        return list((Path(running.settings.files_url) / running.service.name / str(who.tenant_id)).glob("*"))


@dataclass(frozen=True)
class DatabaseUrls:
    """The three roles' addresses of one service's database."""

    owner: str
    app: str
    relay: str


@asynccontextmanager
async def running_service(
    service: Service, urls: DatabaseUrls, nats_url: str, keys: Keys, *, addresses: dict[str, str] | None = None,
    nats_user: str = "", nats_password: str = "",
) -> AsyncGenerator[Harness]:  # fmt: skip
    """Migrates the database and runs the service in this process."""
    await migrate_async(urls.owner, service.migrations)
    keys.issuer(IDENTITY)
    settings = Settings(
        listen="127.0.0.1:0",
        database_url=SecretStr(urls.app),
        relay_database_url=SecretStr(urls.relay),
        owner_database_url=SecretStr(urls.owner),
        nats_url=nats_url,
        nats_user=nats_user,
        nats_password=SecretStr(nats_password),
        token_keys=keys.jwks,
        token_key=keys.private(service.name),
        page_token_key=SecretStr("a secret of this run of tests"),
        addresses=addresses or {},
        acquire_timeout=5.0,
        job_lease_seconds=6.0,
        files_url=str(keys.folder / "files"),
    )
    running = Running(service, settings)
    await running.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        try:
            yield Harness(running, keys, channel)
        finally:
            await running.stop()


@asynccontextmanager
async def answering(
    answers: Mapping[str, tuple[type[Message], Callable[[Any], Message]]],
) -> AsyncGenerator[str]:
    """A gRPC server in the place of another service, for what a service asks of it: method
    (`kehu.customers.v1.CustomerService/LookUpCustomers`) -> class of its requests, and what it answers. Its address."""

    library: Any = grpc
    handler = library.unary_unary_rpc_method_handler

    def served(request: type[Message], answer: Callable[[Any], Message]) -> Any:
        async def serve(asked: Any, context: Any) -> bytes:
            try:
                return answer(asked).SerializeToString()
            except Problem as problem:
                context.set_trailing_metadata(((DETAILS, details(problem)),))
                return await context.abort(STATUS[int(problem.code)], problem.message)

        return handler(serve, request_deserializer=request.FromString)

    methods: dict[str, dict[str, Any]] = {}
    for path, (request, answer) in answers.items():
        service, _, method = path.partition("/")
        methods.setdefault(service, {})[method] = served(request, answer)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, served) for service, served in methods.items()]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def upgraded(url: str, upgrade: Callable[[], None]) -> None:
    """Runs one function that migrates, as the role of `url`, which owns the tables."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import create_async_engine

    def run(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            upgrade()

    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


async def eventually(condition: Callable[[], "asyncio.Future[bool] | object"], timeout: float = 15.0) -> None:
    """Waits until an async condition holds. Raises TimeoutError when it does not within `timeout` seconds."""
    import inspect

    pause = 0.01
    async with asyncio.timeout(timeout):
        while True:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, 0.1)  # what takes long is not made shorter by asking it all the time


@dataclass
class Watched:
    """The read path, and the plans of what goes over it, or of the statements in which `of` stands."""

    database: Database
    of: str = ""
    plans: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    known_fields: Known = field(init=False)

    def __post_init__(self) -> None:
        self.known_fields = self.database.known_fields

    async def read(self, who: Principal, sql: str, *args: object) -> list[asyncpg.Record]:
        """The rows of that statement."""
        if self.of in sql:
            # Composed of a statement that the lists have made.
            rows = await self.database.read(who, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *args)
            found = rows[0][0]
            self.plans.append((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])
        return await self.database.read(who, sql, *args)


@dataclass
class Asking:
    """Somebody who asks lists that are watched."""

    who: Principal
    database: Watched
    page_tokens: PageTokens = field(default_factory=lambda: PageTokens("a secret of the tests"))


def parts_of(plan: Any) -> list[dict[str, Any]]:
    """All nodes of a plan."""
    return [plan, *(below for part in plan.get("Plans", []) for below in parts_of(part))]


def read_of(plan: Any) -> float:
    """How many rows of tables were looked at."""
    return sum(
        (
            node["Actual Rows"]
            + node.get("Rows Removed by Filter", 0)
            + node.get("Rows Removed by Index Recheck", 0)
        )
        * node["Actual Loops"]
        for node in parts_of(plan)
        if "Relation Name" in node
    )


def kinds_of_jobs(patch: Any) -> list[str]:
    """The kinds of the jobs that are enqueued from here on, as long as pytest's `patch` lasts."""
    kinds: list[str] = []
    enqueue = Transaction.enqueue

    async def noted(tx: Transaction, kind: str, *said: Any, **more: Any) -> None:
        kinds.append(kind)
        await enqueue(tx, kind, *said, **more)

    patch.setattr(Transaction, "enqueue", noted)
    return kinds


def together(many: int, do: Any) -> Any:
    """That function, whose first calls wait for so many of them."""
    met = asyncio.Barrier(many)
    left = many

    async def done(*given: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            await met.wait()
        return await do(*given)

    return done


__all__ = [
    "EVERYTHING",
    "Asking",
    "DatabaseUrls",
    "Harness",
    "Keys",
    "Problem",
    "Watched",
    "answering",
    "eventually",
    "kinds_of_jobs",
    "parts_of",
    "read_of",
    "running_service",
    "somebody",
    "together",
    "upgraded",
]


async def refused(code: Code, reason: str, call: Awaitable[Any]) -> Problem:
    """The problem of a call that must fail so. Raises AssertionError when it does not."""
    try:
        await call
    except Problem as problem:
        assert (problem.code, problem.reason) == (code, reason), problem
        return problem
    raise AssertionError(f"nothing was refused; {code.name} {reason} was expected")
