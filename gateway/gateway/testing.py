"""The gateway under test: it listens on a free port, before gRPC servers that answer what a test tells them to."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio
import httpx
import uvicorn
from google.protobuf.message import Message

from chassis.errors import Problem, Unauthenticated
from chassis.ids import new_id
from chassis.principal import GATEWAY, IDENTITY, Principal, Verifier
from chassis.rpc.status import DETAILS, STATUS, details
from chassis.testing import Keys, somebody
from gateway.app import Life, build
from gateway.connections import Connection
from gateway.contracts import load
from gateway.settings import Settings

Answers = Callable[[Any], Awaitable[Message] | Message | AsyncGenerator[Message]]

CONTRACTS = load()
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak no TLS: without one, each would read the list of authorities first."""


@dataclass
class Peer:
    """A gRPC server with methods of one domain. `answers` says how; `calls` remembers what came."""

    domain: str
    verifier: Verifier
    answers: dict[str, Answers] = field(default_factory=dict[str, Answers])
    """`LeadService/GetLead` → the answer to a request, or a Problem raised."""
    calls: list[tuple[str, Any, Principal | None]] = field(
        default_factory=list[tuple[str, Any, Principal | None]]
    )
    address: str = ""
    beside: tuple[tuple[str, str], ...] = ()
    """What stands beside each of its answers."""
    _server: grpc.aio.Server | None = None
    _held: socket.socket | None = None
    """Keeps its port from others who run beside while it is away; nobody listens there."""

    async def start(self) -> None:
        """Listens; at the same port again after a stop."""
        self._server = grpc.aio.server()
        services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
        for method in CONTRACTS.methods:
            if method.domain == self.domain:
                kinds: Any = grpc
                make, handler = kinds.unary_unary_rpc_method_handler, self._handler
                if method.streams:
                    make, handler = kinds.unary_stream_rpc_method_handler, self._in_parts
                elif method.takes_parts:
                    make = kinds.stream_unary_rpc_method_handler
                services.setdefault(method.service, {})[method.name] = make(
                    handler(method.path),
                    request_deserializer=method.request.FromString,
                    response_serializer=method.answer.SerializeToString,
                )
        for name, handlers in services.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()
        self.release()

    def release(self) -> None:
        """Gives the port up that it holds while it is away."""
        if self._held is not None:
            self._held.close()
            self._held = None

    async def stop(self) -> None:
        """As if the process were gone."""
        if self._server is not None:
            self._held = socket.socket()
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as the server's own
            host, _, port = self.address.rpartition(":")
            self._held.bind((host, int(port)))
            await self._server.stop(None)
            self._server = None

    def _handler(self, path: str) -> Any:
        name = path.rpartition(".")[2]

        async def handle(request: Any, context: Any) -> Any:
            metadata = {str(k): v for k, v in context.invocation_metadata() or ()}
            token = str(metadata.get("authorization", "")).removeprefix("Bearer ")
            self.calls.append((name, request, self.verifier.verify(token) if token else None))
            try:
                if self.beside:
                    context.set_trailing_metadata(self.beside)
                answer = self.answers[name](request)
                return await answer if isinstance(answer, Awaitable) else answer
            except Problem as problem:
                context.set_trailing_metadata(((DETAILS, details(problem)),))
                await context.abort(STATUS[int(problem.code)], problem.message)

        return handle

    def _in_parts(self, path: str) -> Any:
        """As `_handler`, for a method whose answer is an async generator of parts."""
        name = path.rpartition(".")[2]

        async def handle(request: Any, context: Any) -> Any:
            self.calls.append((name, request, None))
            parts: Any = self.answers[name](request)
            try:
                async with aclosing(parts):
                    async for part in parts:
                        await context.write(part)
            except Problem as problem:
                context.set_trailing_metadata(((DETAILS, details(problem)),))
                await context.abort(STATUS[int(problem.code)], problem.message)

        return handle


@dataclass
class House:
    """The gateway under test and its peers. All but servicedesk are there."""

    http: httpx.AsyncClient
    keys: Keys
    peers: dict[str, Peer]
    ann: Principal
    living: set[str]
    """Ids of sessions that identity says are alive."""
    whose: dict[str, Principal] = field(default_factory=dict[str, Principal])
    """Who has that session, where tokens were made for others than Ann."""

    def token(self, who: Principal | None = None) -> str:
        """An access token as that person holds it, Ann unless told otherwise; who has no session gets one that is alive."""
        who = who or self.ann
        if who.session_id is None:
            who = replace(who, session_id=new_id())
            self.living.add(str(who.session_id))
        self.whose[str(who.session_id)] = who
        return self.keys.issuer(IDENTITY).issue(who, audience=GATEWAY)

    def somebody_of(self, tenant: str) -> Principal:
        """A signed-in person of that tenant."""
        who = replace(somebody(tenant), session_id=new_id())
        self.living.add(str(who.session_id))
        return who

    def inside(self, session_id: str = "") -> str:
        """The token that identity gives the gateway for a session; for Ann's keys without one."""
        return self.keys.issuer(IDENTITY).issue(self.whose.get(session_id, self.ann))

    def bearer(self, who: Principal | None = None, /, **more: str) -> dict[str, str]:
        """Headers of a signed-in request."""
        return {"authorization": f"Bearer {self.token(who)}", **more}

    def on(self, name: str, answers: Answers) -> Peer:
        """Sets how `leads.LeadService/GetLead` is answered."""
        domain, _, method = name.partition(".")
        self.peers[domain].answers[method] = answers
        return self.peers[domain]


def _identity(house: House) -> None:
    from kehu.identity.v1 import api_key_service_pb2, session_pb2, session_service_pb2

    ann = house.ann

    def introspect(request: Any) -> Message:
        if request.session_id not in house.living:
            return session_service_pb2.IntrospectSessionResponse(active=False)
        return session_service_pb2.IntrospectSessionResponse(
            active=True, access_token=house.inside(request.session_id)
        )

    def exchange(request: Any) -> Message:
        if request.api_key != "kehu_good":
            raise Unauthenticated("The key is unknown.", reason="API_KEY_INVALID")
        return api_key_service_pb2.ExchangeApiKeyResponse(access_token=house.inside())

    def sign_in(request: Any) -> Message:
        tokens = session_pb2.SessionTokens(
            access_token=house.token(), refresh_token="refresh me", session_id=str(ann.session_id)
        )
        tokens.refresh_token_expire_time.GetCurrentTime()
        tokens.refresh_token_expire_time.seconds += 3600
        return tokens

    house.on("identity.SessionService/IntrospectSession", introspect)
    house.on("identity.ApiKeyService/ExchangeApiKey", exchange)
    house.on("identity.SessionService/SignIn", sign_in)


@asynccontextmanager
async def running_gateway(keys: Keys, nats_url: str, **settings: Any) -> AsyncGenerator[House]:
    """A gateway with its peers, for the time of the block."""
    verifier = Verifier.from_file(keys.jwks)
    domains = ("identity", "customers", "leads", "sales", "marketing", "analytics")
    peers = {domain: Peer(domain, verifier) for domain in domains}
    for peer in peers.values():
        await peer.start()
    life = Life()
    app = build(
        Settings(
            token_keys=keys.jwks,
            token_key=keys.private("gateway"),
            nats_url=nats_url,
            access_log=False,
            facet_deadline=0.5,
            trusted_proxies="127.0.0.1/32",
            addresses={name: peer.address for name, peer in peers.items()},
            **settings,
        ),
        life,
    )
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=Connection, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    # The test's own loop runs the server, and its signals are not the server's business.
    running = asyncio.create_task(server._serve())  # pyright: ignore[reportPrivateUsage]
    while not server.started:
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    ann = replace(somebody(), session_id=new_id())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, verify=_PLAIN) as http:
        house = House(http, keys, peers, ann, {str(ann.session_id)})
        _identity(house)
        yield house
    life.leave()
    server.should_exit = True
    await running
    for peer in peers.values():
        await peer.stop()
        peer.release()
