"""The gateway put together: edge, routes of the contracts, the composed view, live events, documentation, pages and health."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import orjson
import swagger_ui_bundle
from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import Request

from chassis.principal import GATEWAY, Issuer, Verifier
from gateway import contracts as contract_set
from gateway import openapi, search, view360
from gateway import stream as streams
from gateway.access_log import AccessLog
from gateway.backends import Backends
from gateway.contracts import Contracts
from gateway.edge import Edge
from gateway.exchanges import Served
from gateway.limits import Limits
from gateway.problems import Refusal
from gateway.routes import routes, tree_of
from gateway.sessions import Sessions
from gateway.settings import Settings
from gateway.templates import Tree

_PAGES = Path(__file__).parent / "pages"
_SWAGGER = Path(str(vars(swagger_ui_bundle)["swagger_ui_path"]))
_DOCS = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Kehu API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css"></head><body><div id="ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script><script src="/pages/docs.js"></script></body></html>"""


@dataclass
class Life:
    """Whether the gateway still wants requests. Ends when the process is told to stop."""

    leaving: bool = False
    ends: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    """What has to be told."""

    def leave(self) -> None:
        """No longer ready; streams are let go."""
        self.leaving = True
        for end in self.ends:
            end()


def build(settings: Settings, life: Life | None = None) -> Edge:
    """The ASGI application. Channels and the bus are opened when the server starts."""
    life = life or Life()
    contracts = contract_set.load()
    found = routes(contracts)
    domains = {method.domain for method in contracts.methods}
    limits = Limits.standard(
        rate=settings.rate_per_second, door_rate=settings.door_rate_per_minute,
        places=settings.max_concurrent_requests, seats=settings.seats, streams=settings.max_streams,
        file_bytes=settings.max_file_bytes,
    )  # fmt: skip
    if settings.token_key is None:
        raise SystemExit("KEHU_TOKEN_KEY must name the gateway's private key")
    issuer = Issuer.from_file("gateway", settings.token_key)
    outside = Verifier.from_file(settings.token_keys, GATEWAY)
    inside = Verifier.from_file(settings.token_keys)
    backends = Backends(contracts, settings.backends(domains))
    sessions = Sessions(backends, outside, inside, issuer)
    live = streams.Streams(settings, contracts.subjects, sessions, limits)
    life.ends.append(live.end)
    view = view360.View360(contracts, backends, sessions, limits, settings.facet_deadline)
    found_across = search.SearchAcross(contracts, backends, sessions, limits, settings.facet_deadline)
    more: list[tuple[str, str, Served]] = [
        ("GET", view360.PATH, view), ("GET", search.PATH, found_across), ("GET", streams.PATH, live),
    ]  # fmt: skip
    tree: Tree[Served] = tree_of(found, backends, sessions, limits, more)
    log = AccessLog() if settings.access_log else AccessLog(out=None)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        backends.open()
        live.open()
        yield
        await live.close()
        await backends.close()
        log.flush()

    app = FastAPI(title="Kehu", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    _pages(app, _document(contracts))
    _health(app, backends, live, life)
    return Edge(
        app, tree=lambda: tree, limits=limits, tenant_of=sessions.tenant_of, hosts=settings.host_names(),
        proxies=settings.proxies(), public_url=settings.public_url, access_log=log,
    )  # fmt: skip


@cache
def _document(contracts: Contracts) -> bytes:
    """The OpenAPI document, which says the same as long as the process lives."""
    return orjson.dumps(openapi.document(contracts, routes(contracts), view360.PATH, search.PATH))


def _pages(app: FastAPI, document: bytes) -> None:
    async def openapi_json() -> Response:
        return Response(document, media_type="application/json")

    async def docs() -> Response:
        return HTMLResponse(_DOCS)

    async def home() -> Response:
        return FileResponse(_PAGES / "index.html")

    async def unknown(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 405:
            refusal = Refusal(
                405, "METHOD_NOT_ALLOWED", "This page can only be read.", extra=((b"allow", b"GET"),)
            )
        else:
            refusal = Refusal(status, "ROUTE_UNKNOWN", "There is nothing here. /docs shows what there is.")
        headers = {k.decode(): v.decode() for k, v in refusal.headers()}
        return Response(
            refusal.document(request.url.path[:500], request.scope.get("kehu.trace_id", "")), status, headers
        )

    app.add_api_route("/openapi.json", openapi_json)
    app.add_api_route("/docs", docs)
    app.add_api_route("/", home)
    app.mount("/docs/assets", StaticFiles(directory=_SWAGGER))
    app.mount("/pages", StaticFiles(directory=_PAGES))
    app.add_exception_handler(HTTPException, unknown)


def _health(app: FastAPI, backends: Backends, live: streams.Streams, life: Life) -> None:
    async def livez() -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz() -> Response:
        # Ready means able to answer, with whatever services are there: one that is down costs its own routes only.
        found = {"status": "ok", "services": backends.states(), "broker": live.connected}
        if life.leaving:
            return JSONResponse({**found, "status": "leaving"}, 503, {"retry-after": "1"})
        return JSONResponse(found)

    app.add_api_route("/livez", livez)
    app.add_api_route("/readyz", readyz)
