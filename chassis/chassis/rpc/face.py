"""A service's gRPC face, declared method by method.

    face = Face("kehu.leads.v1.LeadService")

    @face.write("CreateLead")
    async def create_lead(request: CreateLeadRequest, tx: Transaction) -> Lead: ...

Who may call, how long it may take and what a request may hold stand in the contract; here stands what is done. A `write` runs
in one transaction, in which a `request_id` is kept together with the answer: the repeat of a request changes nothing and gets
the same answer. A `read` gets a `Call`. A `process` gets a `Call` too and opens transactions of its own, for work that spans
services. A `stream` gives its answer in parts, as an async generator over a `Call`; an `upload` is asked in parts.
"""

import asyncio
import hashlib
import importlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol, TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from kehu import contracts
from kehu.rules.v1 import rules_pb2
from sqlalchemy import text

from chassis import validation
from chassis.busy import patiently
from chassis.database import Transaction
from chassis.errors import Code, Conflict, Denied, IdempotencyKeyReused, Problem, Unauthenticated
from chassis.principal import NOBODY, Act, Principal, Reach
from chassis.rpc import clients
from chassis.rpc.call import Call
from chassis.rpc.deadlines import deadline_of
from chassis.validation.rules import rules_of
from chassis.wire import descriptor_of

log = logging.getLogger(__name__)

H = TypeVar("H", bound=Callable[..., Awaitable[Message]])
S = TypeVar("S", bound=Callable[..., AsyncGenerator[Message]])

_ALWAYS_ALLOWED = frozenset({"ChangePassword", "SignOut", "GetMe"})
"""What a person may do who must choose a new password first."""


class Kind(Enum):
    READ = "read"
    WRITE = "write"
    PROCESS = "process"
    STREAM = "stream"
    UPLOAD = "upload"


@dataclass(frozen=True)
class Method:
    """One method of a face, with its contract read from the descriptor."""

    name: str
    path: str
    kind: Kind
    handler: Callable[..., Any]
    prepare: Callable[[Any, Call], Awaitable[Any]] | None
    request: type[Message]
    answer: type[Message]
    access: Any
    deadline: float
    check: Callable[[Message], Any]
    keeps_answers: bool
    """Whether a request_id of the request is kept with the effect."""
    references: "References | None" = None
    beside: str = ""
    """The header that may stand beside its answer."""
    tell: Callable[[Any, Any, Call], Awaitable[str]] | None = None


class References(Protocol):
    """What finds the records that custom fields of a request refer to, as `chassis.custom_fields.switch.CustomFields`."""

    async def seen(self, call: Call, request: Message) -> frozenset[tuple[str, str]]: ...


class Face:
    """The methods of one proto service. Raises ValueError for a method that its contract does not know.

    With `custom_fields`, records that a written request's custom fields refer to are looked up before its transaction.
    """

    def __init__(self, service: str, *, custom_fields: References | None = None) -> None:
        self._references = custom_fields
        self._descriptor = _service(service)
        self.service = service
        self.methods: dict[str, Method] = {}

    def read(self, name: str) -> Callable[[H], H]:
        """`async (request, call) -> answer`, changing nothing."""
        return self._declare(name, Kind.READ)

    def write(
        self,
        name: str,
        *,
        prepare: Callable[[Any, Call], Awaitable[Any]] | None = None,
        beside: Callable[[Any, Any, Call], Awaitable[str]] | None = None,
    ) -> Callable[[H], H]:
        """`async (request, tx) -> answer`, in one transaction.

        With `prepare`, `async (request, tx, prepared) -> answer`: what `prepare(request, call)` gives is found before the
        transaction begins, for questions to other services. With `beside`, what `beside(request, answer, call)` gives is told
        beside the answer in the header that the contract names, after the transaction has committed: also of a repeat, and not
        when it fails or takes long.
        """
        return self._declare(name, Kind.WRITE, prepare, beside)

    def process(self, name: str) -> Callable[[H], H]:
        """`async (request, call) -> answer`, with transactions of its own."""
        return self._declare(name, Kind.PROCESS)

    def stream(self, name: str) -> Callable[[S], S]:
        """`async (request, call) -> parts of the answer`, for answers that are not held in memory as a whole. It is closed when
        the caller goes away, so what it ends stands in a `finally`."""
        return self._declare(name, Kind.STREAM)

    def searched(self, name: str) -> list[str]:
        """The kinds of record that a method of the contract looks through. Raises ValueError for a method there is not."""
        found = self._descriptor.methods_by_name.get(name)
        if found is None:
            raise ValueError(f"{self.service} has no method {name}")
        return list(found.GetOptions().Extensions[rules_pb2.searched])

    def upload(self, name: str) -> Callable[[H], H]:
        """`async (first, parts, call) -> answer`, for requests that are not held in memory as a whole: `parts` gives the
        messages behind the first one as they come. When the caller goes away they end as if that were all, so the request has
        to say itself that it is whole. The handler opens transactions of its own."""
        return self._declare(name, Kind.UPLOAD)

    def missing(self) -> list[str]:
        """Methods of the contract that nothing here serves."""
        return [m.name for m in self._descriptor.methods if m.name not in self.methods]

    def _declare(
        self,
        name: str,
        kind: Kind,
        prepare: Callable[[Any, Call], Awaitable[Any]] | None = None,
        tell: Callable[[Any, Any, Call], Awaitable[str]] | None = None,
    ) -> Callable[[Any], Any]:
        found = self._descriptor.methods_by_name.get(name)
        if found is None or name in self.methods:
            raise ValueError(f"{self.service} has no method {name}, or it is declared twice")
        if found.server_streaming != (kind is Kind.STREAM):
            raise ValueError(f"{self.service}.{name}: what answers in parts is a stream, and nothing else is")
        if found.client_streaming != (kind is Kind.UPLOAD):
            raise ValueError(
                f"{self.service}.{name}: what is asked in parts is an upload, and nothing else is"
            )

        beside: str = found.GetOptions().Extensions[rules_pb2.beside]
        if bool(beside) != (tell is not None):
            raise ValueError(
                f"{self.service}.{name}: what is told beside its answer is what the contract names"
            )

        def decorate(handler: Any) -> Any:
            method = _method(found, kind, handler, prepare)
            self.methods[name] = replace(method, references=self._references, beside=beside, tell=tell)
            return handler

        return decorate


def services_of(domain: str) -> list[str]:
    """The full names of all services that the contracts of a domain have."""
    found: list[str] = []
    for module in contracts.module_names():
        if module.startswith(f"kehu.{domain}.v1."):
            file: Any = importlib.import_module(module).DESCRIPTOR
            found += [service.full_name for service in file.services_by_name.values()]
    return sorted(found)


def _service(name: str) -> Any:
    """The descriptor of a service; its package's contracts are imported if nobody has yet."""
    package = name.rpartition(".")[0]
    for module in contracts.module_names():
        if module.startswith(package + "."):
            importlib.import_module(module)
    try:
        return descriptor_pool.Default().FindServiceByName(name)
    except KeyError:
        raise ValueError(f"no contract has a service {name}") from None


def messages_of(method: str) -> tuple[type[Any], type[Any]]:
    """The classes of request and answer of `kehu.leads.v1.LeadService/GetLead`. Raises ValueError."""
    service, _, name = method.partition("/")
    found = _service(service).methods_by_name.get(name)
    if found is None:
        raise ValueError(f"{service} has no method {name}")
    return GetMessageClass(found.input_type), GetMessageClass(found.output_type)


def _method(
    found: MethodDescriptor,
    kind: Kind,
    handler: Callable[..., Any],
    prepare: Callable[[Any, Call], Awaitable[Any]] | None,
) -> Method:
    options = found.GetOptions()
    access = options.Extensions[rules_pb2.access]
    path = f"/{found.containing_service.full_name}/{found.name}"
    if not (access.right or access.signed_in or access.public or access.services) or not access.act:
        raise ValueError(f"{path} has no rule of access")
    return Method(
        name=found.name,
        path=path,
        kind=kind,
        handler=handler,
        prepare=prepare,
        request=GetMessageClass(found.input_type),
        answer=GetMessageClass(found.output_type),
        access=access,
        deadline=deadline_of(found),
        check=validation.check,
        keeps_answers=kind is Kind.WRITE and "request_id" in found.input_type.fields_by_name,
    )


def admit(method: Method, who: Principal | None) -> Principal:
    """The caller, if the method's rule of access lets them in at all. Raises Unauthenticated or Denied."""
    access = method.access
    if access.public:
        return who or ANYBODY
    if who is None:
        raise Unauthenticated("Sign in first.", reason="SIGN_IN_REQUIRED")
    if who.service is not None:
        if who.service in access.services:
            if who.keeps_rights and not access.signed_in:
                need(who, access.right, Act.READ if access.act == rules_pb2.ACT_READ else Act.WRITE)
            return who
        raise Denied(f"The service '{who.service}' may not do this by itself.", reason="SERVICE_NOT_ALLOWED")
    if who.must_change_password and method.name not in _ALWAYS_ALLOWED:
        raise Denied("Choose a new password first.", reason="PASSWORD_CHANGE_REQUIRED")
    if access.signed_in:
        return who
    act = Act.READ if access.act == rules_pb2.ACT_READ else Act.WRITE
    need(who, access.right, act)
    return who


def need(who: Principal, right: str, act: Act) -> None:
    """Raises Denied (RIGHT_MISSING) when the caller has no reach at all under that right."""
    if not right or who.reach(right, act) is Reach.NONE:
        raise Denied(
            f"Your roles do not let you {act.value} {right or 'this'}.",
            reason="RIGHT_MISSING",
            metadata={"right": right, "act": act.value},
        )


ANYBODY = Principal(tenant_id=NOBODY, tenant="", person_id=NOBODY)
"""The caller of a public method who has not signed in."""


async def serve_call(method: Method, request: Message, call: Call, timeout: float) -> Message:
    """Runs a method for an admitted caller within `timeout` seconds. Raises Problem."""
    method.check(request)
    call = replace(call, method=method)
    clients.deadline.set(time.monotonic() + timeout)
    if method.kind is Kind.WRITE:
        return await _write(method, request, call)
    return await method.handler(request, call)


def serve_stream(method: Method, request: Message, call: Call, timeout: float) -> AsyncGenerator[Message]:
    """The parts of an answer for an admitted caller. Raises Problem, before the first part for what is wrong with the request."""
    method.check(request)
    clients.deadline.set(time.monotonic() + timeout)
    return method.handler(request, replace(call, method=method))


async def serve_upload(
    method: Method, first: Message, parts: AsyncIterator[Message], call: Call, timeout: float
) -> Message:
    """Runs a method that is asked in parts for an admitted caller. Raises Problem."""
    method.check(first)
    clients.deadline.set(time.monotonic() + timeout)
    return await method.handler(first, parts, replace(call, method=method))


_BESIDE = 0.5
"""Seconds that something beside an answer may take."""
_KEPT_BACK = 0.25
"""Seconds of the deadline that are the answer's, whatever is told beside it."""


async def _write(method: Method, request: Message, call: Call) -> Message:
    request_id = getattr(request, "request_id", "") if method.keeps_answers else ""
    prepared = [await method.prepare(request, call)] if method.prepare is not None else []
    seen: frozenset[tuple[str, str]] = frozenset()
    if method.references is not None:
        seen = await method.references.seen(call, request)

    async def work(tx: Transaction) -> Message:
        tx.seen = seen
        return await method.handler(request, tx, *prepared)

    answer = await once(call, method, request_id, _hash(request) if request_id else b"", work)
    if method.tell is not None:
        await _tell(method, method.tell, request, answer, call)
    return answer


async def _tell(
    method: Method, tell: Callable[[Any, Any, Call], Awaitable[str]], request: Message, answer: Message, call: Call
) -> None:  # fmt: skip
    """Tells what stands beside the answer, in the time that the answer leaves. It is done: whatever fails here fails alone."""
    until = clients.deadline.get()
    left = _BESIDE if until is None else min(_BESIDE, until - time.monotonic() - _KEPT_BACK)
    if left <= 0:
        return
    try:
        async with asyncio.timeout(left):
            call.beside[method.beside] = await tell(request, answer, call)
    except (Problem, TimeoutError):
        return
    except Exception as error:  # a bug, and no reason to say that nothing was done
        log.error("%s could not tell what stands beside its answer", method.path, exc_info=error)


async def once(
    call: Call,
    method: Method,
    request_id: str,
    digest: bytes,
    work: Callable[[Transaction], Awaitable[Message]],
) -> Message:
    """The answer of that work in one transaction, in which it is kept; of a repeat of the same request_id the answer that was
    kept. `digest` tells the repeat from another request with the same id. Without an id the work is done and nothing kept.

    Raises IdempotencyKeyReused.
    """

    async def attempt() -> Message:
        async with call.database.transaction(call.who) as tx:
            if request_id:
                kept = await _kept(tx, method, digest, request_id)
                if kept is not None:
                    return method.answer.FromString(kept)
            answer = await work(tx)
            if request_id:
                await _keep(tx, method, request_id, answer)
        return answer

    return await patiently(attempt)


def _hash(request: Message) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


async def _kept(tx: Transaction, method: Method, digest: bytes, request_id: str) -> bytes | None:
    """The answer kept for this request, or None after reserving its place. A second one waits for the first to commit."""
    key = {
        "tenant": tx.who.tenant_id,
        "person": tx.who.person_id,
        "method": method.path,
        "request_id": request_id,
    }
    fresh = await tx.session.execute(_RESERVE, {**key, "hash": digest})
    if fresh.first() is not None:
        return None
    found = (await tx.session.execute(_FIND, key)).one_or_none()
    if found is None or found.response is None:
        raise Conflict(
            "The same request is being worked on: ask again.", reason="RECORD_BUSY", retry_after=1.0
        )
    if bytes(found.request_hash) != digest:
        raise IdempotencyKeyReused
    return bytes(found.response)


async def _keep(tx: Transaction, method: Method, request_id: str, answer: Message) -> None:
    key = {
        "tenant": tx.who.tenant_id,
        "person": tx.who.person_id,
        "method": method.path,
        "request_id": request_id,
    }
    await tx.session.execute(_STORE, {**key, "response": _without_secrets(answer).SerializeToString()})


def _without_secrets(answer: Message) -> Message:
    """What is shown once is not kept: a repeat gets the answer without it."""
    fields = descriptor_of(answer).fields
    secrets = [field.name for field in fields if rules_of(field).secret]
    if not secrets:
        return answer
    kept = type(answer)()
    kept.CopyFrom(answer)
    for name in secrets:
        kept.ClearField(name)
    return kept


_WHERE = (
    " WHERE tenant_id = :tenant AND person_id = :person AND method = :method AND request_id = :request_id"
)
_RESERVE = text(
    "INSERT INTO idempotency (tenant_id, person_id, method, request_id, request_hash)"
    " VALUES (:tenant, :person, :method, :request_id, :hash) ON CONFLICT DO NOTHING RETURNING method"
)
_FIND = text("SELECT request_hash, response FROM idempotency" + _WHERE)  # noqa: S608 (two constants of this file)
_STORE = text("UPDATE idempotency SET response = :response" + _WHERE)  # noqa: S608 (two constants of this file)

__all__ = [
    "ANYBODY",
    "Code",
    "Face",
    "Kind",
    "Method",
    "Problem",
    "admit",
    "need",
    "once",
    "serve_call",
    "serve_stream",
    "serve_upload",
]
