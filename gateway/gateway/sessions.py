"""Who asks: sign-in at the edge.

Programs send `Authorization: Bearer` with an access token of a sign-in or an API key; browsers have a cookie, made at
sign-in when they ask for one. Whatever came, the services get another: a signed access token of five minutes that identity
gives the gateway for a living session or key, and which each service verifies itself. Identity is asked at most every `FRESH`
seconds, so a disabled person is out everywhere within five seconds, and what they carry off opens no service; while identity does
not answer, what it last said goes on opening doors until it is out of date.

The cookie names tenant and session and carries a MAC by the gateway's key: nothing in it opens a service by itself. Requests that
change something and come with the cookie must come from our own pages: the header `X-Kehu-Client`, which no foreign page can
send, and an Origin of ours.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.message import Message

from chassis.errors import Problem
from chassis.principal import NOBODY, Issuer, Principal, Verifier
from chassis.wire import to_json
from gateway.backends import Backends, Metadata
from gateway.contracts import Method
from gateway.exchanges import Answer, Exchange, Headers
from gateway.problems import Refusal, of_problem

FRESH = 3.0
"""Seconds for which identity's word about a session or key is taken."""
_PATIENCE = 1.0
"""Seconds after which identity is asked again when it did not answer: else each request would wait for it to its deadline."""
_KEPT = 20_000
_COOKIE = "kehu_session"
_SAFE = ("GET", "HEAD", "OPTIONS")
_ASKS = b"x-kehu-session"
"""Header by which a browser asks for a cookie instead of tokens: `X-Kehu-Session: cookie`."""
_CLIENT = b"x-kehu-client"
_CREDENTIALS = (b"x-api-key", b"authorization", b"cookie")
"""Headers in which callers show who they are, the one that counts first."""
_INTROSPECT = "kehu.identity.v1.SessionService.IntrospectSession"
_EXCHANGE = "kehu.identity.v1.ApiKeyService.ExchangeApiKey"

After = Callable[[Exchange, Message, Any, Answer], None]


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in caller. `key` is by which their requests are counted."""

    who: Principal
    authorization: str
    key: str


@dataclass(slots=True)
class _Known:
    checked: float
    caller: Caller | None


class Sessions:
    """Knows callers. One a gateway; make it inside the running loop."""

    def __init__(self, backends: Backends, outside: Verifier, inside: Verifier, issuer: Issuer) -> None:
        self._backends = backends
        self._outside = outside
        self._inside = inside
        self._issuer = issuer
        raw = issuer.private_key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        self._secret = hashlib.sha256(b"kehu session cookies\0" + raw).digest()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Future[Caller | None]] = {}
        self._tenants: OrderedDict[bytes, str] = OrderedDict()

    async def caller(self, exchange: Exchange, method: Method | None = None) -> Caller | None:
        """Who sent this; None for strangers, who are let in to public methods only.

        Raises Refusal 401 when what they show is not valid (any more) or sign-in is needed, 403 for a forged request.
        """
        caller = await self._shown(exchange, method is not None and method.access.public)
        if caller is not None:
            exchange.person = str(caller.who.person_id)
            self._learn(exchange, caller)
        elif method is None or not method.access.public:
            raise Refusal(
                401,
                "SIGN_IN_REQUIRED",
                "Sign in first: send a bearer token, an API key or the session cookie.",
            )
        return caller

    def tenant_of(self, headers: Headers) -> str:
        """The tenant of who has shown the same before, for fair shares and nothing else; empty for anyone not seen yet.

        It says nothing about whether what is shown is still valid.
        """
        for name, value in headers:
            if name in _CREDENTIALS:
                tenant = self._tenants.get(value)
                if tenant is not None:
                    return tenant
        return ""

    def _learn(self, exchange: Exchange, caller: Caller) -> None:
        shown = next((exchange.headers[name] for name in _CREDENTIALS if name in exchange.headers), b"")
        if shown not in self._tenants:
            self._tenants[shown] = caller.who.tenant
            if len(self._tenants) > _KEPT:
                self._tenants.popitem(last=False)

    async def _shown(self, exchange: Exchange, strangers_too: bool) -> Caller | None:
        header = exchange.headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, credential = header.partition(" ")
        api_key = exchange.headers.get(b"x-api-key", b"").decode("latin-1") or (
            credential if credential.startswith("kehu_") else ""
        )
        if api_key:
            return await self._by_key(api_key.strip())
        if header:
            if scheme.lower() != "bearer" or not credential:
                raise Refusal(
                    401, "TOKEN_INVALID", "The Authorization header must be 'Bearer' and a token or API key."
                )
            return await self._by_token(credential.strip())
        cookie = _cookie(exchange)
        if cookie is None:
            return None
        if exchange.method not in _SAFE:
            if strangers_too and not _of_own_page(exchange):
                return None  # a form in somebody's page is nobody's, even where the browser is signed in here
            _check_own_page(exchange)
        return await self._by_cookie(cookie, _gone(exchange))

    async def _by_token(self, token: str) -> Caller:
        try:
            who = self._outside.verify(token)
        except Problem as problem:
            raise of_problem(problem) from None
        if who.service is not None or who.session_id is None:
            raise Refusal(401, "TOKEN_INVALID", "The access token is not valid.")
        session = who.session_id
        caller = await self._ask(f"s {session}", lambda: self._introspect(who.tenant_id, who.tenant, session))
        if caller is None:
            raise Refusal(401, "SESSION_ENDED", "The session has ended: sign in again.")
        return caller

    async def _by_key(self, api_key: str) -> Caller:
        digest = hashlib.sha256(api_key.encode()).hexdigest()
        caller = await self._ask(f"k {digest}", lambda: self._exchange(api_key))
        if caller is None:
            raise Refusal(401, "API_KEY_INVALID", "The API key is unknown, revoked or out of date.")
        return caller

    async def _by_cookie(self, cookie: str, gone: bytes) -> Caller | None:
        opened = self._open(cookie)
        if opened is None:
            return None
        tenant_id, slug, session = opened
        caller = await self._ask(f"s {session}", lambda: self._introspect(tenant_id, slug, session))
        if caller is None:
            raise Refusal(
                401, "SESSION_ENDED", "The session has ended: sign in again.", extra=((b"set-cookie", gone),)
            )
        return caller

    async def _ask(self, key: str, question: Callable[[], Awaitable[Caller | None]]) -> Caller | None:
        """Identity's word, remembered for `FRESH` seconds; asked once for all who wait for the same."""
        now = time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known.checked < FRESH:
            return known.caller
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.ensure_future(question())
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        try:
            caller = await asyncio.shield(asking)
        except Refusal as refusal:
            if (
                refusal.status in (503, 504)
                and known is not None
                and known.caller is not None
                and self._valid(known.caller)
            ):
                self._remember(key, known.caller, for_seconds=_PATIENCE)
                return known.caller
            raise
        self._remember(key, caller, for_seconds=FRESH)
        return caller

    def _remember(self, key: str, caller: Caller | None, *, for_seconds: float) -> None:
        self._known[key] = _Known(time.monotonic() - FRESH + for_seconds, caller)
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def _valid(self, caller: Caller) -> bool:
        try:
            self._inside.verify(caller.authorization.removeprefix("Bearer "))
        except Problem:
            return False
        return True

    async def _introspect(self, tenant_id: UUID, slug: str, session: UUID) -> Caller | None:
        answer = await self._identity(_INTROSPECT, {"session_id": str(session)}, tenant_id, slug)
        return self._caller(answer.access_token) if answer.active else None

    async def _exchange(self, api_key: str) -> Caller | None:
        try:
            answer = await self._identity(_EXCHANGE, {"api_key": api_key}, NOBODY, "")
        except Refusal as refusal:
            if refusal.status in (400, 401):
                return None
            raise
        return self._caller(answer.access_token)

    def _caller(self, token: str) -> Caller:
        who = self._inside.verify(token)
        return Caller(who, f"Bearer {token}", str(who.person_id))

    async def _identity(self, name: str, fields: dict[str, str], tenant_id: UUID, slug: str) -> Any:
        method = self._backends.contracts.named(name)
        if method is None:
            raise Refusal(503, "MODULE_NOT_INSTALLED", "The identity service is not installed.")
        return await self._backends.call(
            method, method.request(**fields), self._own(tenant_id, slug), timeout=2.0
        )

    def _own(self, tenant_id: UUID, slug: str) -> Metadata:
        who = Principal(
            tenant_id=tenant_id, tenant=slug, person_id=NOBODY, name="gateway", service=self._issuer.name
        )
        return (("authorization", f"Bearer {self._issuer.issue(who, 60.0)}"),)

    def after(self, method: Method) -> After | None:
        """What to do with the answer of a method that begins or ends a session."""
        if method.full_name == "kehu.identity.v1.SessionService.SignIn":
            return self._signed_in
        if method.full_name == "kehu.identity.v1.SessionService.SignOut":
            return self._signed_out
        if method.full_name == "kehu.identity.v1.SessionService.ChangePassword":
            return self._changed_password
        return None

    def _signed_in(self, exchange: Exchange, request: Message, message: Any, answer: Answer) -> None:
        if exchange.headers.get(_ASKS, b"").strip().lower() != b"cookie":
            return
        _check_own_page(exchange)
        who = self._outside.verify(message.access_token)
        value = self._seal(who.tenant_id, who.tenant, UUID(message.session_id))
        seconds = max(0, message.refresh_token_expire_time.seconds - int(time.time()))
        secure = "; Secure" if exchange.secure else ""
        cookie = (
            f"{_cookie_name(exchange)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        )
        # A page has no use for tokens that a script could steal from it.
        message.access_token = message.refresh_token = ""
        answer.body = to_json(message)
        answer.headers.append((b"set-cookie", cookie.encode()))

    def _signed_out(self, exchange: Exchange, request: Message, message: Any, answer: Answer) -> None:
        self._forget(exchange.person)
        answer.headers.append((b"set-cookie", _gone(exchange)))

    def _changed_password(self, exchange: Exchange, request: Message, message: Any, answer: Answer) -> None:
        # What was known of the session says that the password must be changed.
        self._forget(exchange.person)

    def _forget(self, person: str) -> None:
        """Asks identity anew about that person; what is known of others stays."""
        gone = [
            key
            for key, known in self._known.items()
            if known.caller is None or str(known.caller.who.person_id) == person
        ]
        for key in gone:
            del self._known[key]

    def _seal(self, tenant_id: UUID, slug: str, session: UUID) -> str:
        text = f"{tenant_id.hex}.{slug}.{session.hex}"
        return f"{text}.{self._mac(text)}"

    def _open(self, value: str) -> tuple[UUID, str, UUID] | None:
        parts = value.split(".")
        if len(parts) != 4 or not hmac.compare_digest(
            self._mac(".".join(parts[:3])).encode(), parts[3].encode()
        ):
            return None
        return UUID(parts[0]), parts[1], UUID(parts[2])

    def _mac(self, text: str) -> str:
        digest = hmac.new(self._secret, text.encode(), "sha256").digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _cookie_name(exchange: Exchange) -> str:
    # A browser lets nobody but this very host set a cookie so named, and only over https.
    return f"__Host-{_COOKIE}" if exchange.secure else _COOKIE


def _gone(exchange: Exchange) -> bytes:
    secure = "; Secure" if exchange.secure else ""
    return f"{_cookie_name(exchange)}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}".encode()


def _cookie(exchange: Exchange) -> str | None:
    for part in exchange.headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        if name == _cookie_name(exchange) and value:
            return value
    return None


def _check_own_page(exchange: Exchange) -> None:
    """Raises Refusal 403 unless the request can only come from a page of ours."""
    if not _of_own_page(exchange):
        text = "A request with the session cookie must come from our own pages and carry the header X-Kehu-Client."
        raise Refusal(403, "FOREIGN_PAGE", text)


def _of_own_page(exchange: Exchange) -> bool:
    """Whether the request can only come from a page of ours."""
    site = exchange.headers.get(b"sec-fetch-site", b"same-origin")
    origin = exchange.headers.get(b"origin", b"").decode("latin-1").lower()
    host = exchange.headers.get(b"host", b"").decode("latin-1").lower()
    own = not origin or origin.partition("://")[2] == host
    return site in (b"same-origin", b"none") and own and _CLIENT in exchange.headers
