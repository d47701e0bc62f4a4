"""Calls made up from the OpenAPI document of a running gateway, and what is wrong with their answers.

Values that fit the document and values that break it come from Schemathesis, by a seed. Ids that nobody has would end nearly
every call at 'not found': so ids in paths, queries and bodies are exchanged for those of records that are there, which earlier
calls have made. The same seed makes the same calls, but for these ids, which the services choose.
"""

import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, Response, openapi
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks as conformance

from proof.furniture import BODIES, a_name, id_of, posted_to

Case = Any
"""schemathesis.Case, generic in what only its schemas know."""
ENDLESS = ("GET /v1/events:stream",)
"""Left out: its answer does not end. tests/journeys and the gateway's own tests read it."""
_CHECKS: Any = [
    vars(conformance)[f"{what}_conformance"]
    for what in ("status_code", "content_type", "response_headers", "response_schema")
]
_SECONDS = 30.0
"""The longest an answer may take: beyond every deadline of the contracts."""
_REPEATS = 5
_KEPT = 40
_EVERY_CHECK: Any = list(HealthCheck)
_TRACE = re.compile(r"[0-9a-f]{32}")
_REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_INSIDE = re.compile(
    r"Traceback|asyncpg|sqlalchemy|grpc\.|psycopg|\.py\b|SELECT .* FROM|INSERT INTO|127\.0\.0\.1|kehu_app|object at 0x"
    r"|_fkey\b|_pkey\b|_check\b"
)
"""What only the inside of a program knows."""
_PEOPLE = {"owner", "assignee", "person", "manager", "recipient", "creator", "updater"}
_WORDS: Mapping[str, Sequence[str]] = {
    "recordType": ("person", "customer", "contact", "lead", "product", "order", "ticket", "campaign"),
    "orderBy": ("createTime", "createTime desc", "name", "displayName desc", "updateTime, id"),
    "filter": (
        'createTime > "2024-01-01T00:00:00Z"', 'NOT (ownerId = "")', 'name = "x" OR createTime < "0001-01-01T00:00:00Z"',
        'createTime > "9999-12-31T23:59:59.999999Z" AND ' * 9 + 'creatorId = "x"', "(" * 40 + "x = 1" + ")" * 40,
    ),
    "filename": ("a.csv", "a.xlsx", "b.txt"),
    "currencyCode": ("CNY", "JPY", "KWD", "XXX"),
}  # fmt: skip
"""What made-up texts hardly ever are: words that a service knows."""
_GUARDS = ("etag", "pageToken", "requestId")
"""A made-up one is refused before anything is done: most calls go without."""
_WITH_RETRY = {429, 503}


@dataclass(frozen=True)
class Who:
    """Somebody who may do everything, and where."""

    base_url: str
    tenant: str
    email: str
    password: str


@dataclass(frozen=True)
class Share:
    """What one of several processes does: its operations, how many calls of each kind, and the records that are there."""

    number: int
    seed: int
    labels: tuple[str, ...]
    calls: int
    pools: Mapping[str, Sequence[str]]
    """Ids by the path below which they stand: `/v1/leads/`."""


@dataclass
class Tally:
    """What came of it."""

    calls: int = 0
    busy: int = 0
    """Answers that a service or the gateway is overloaded; they say when to come back, and did succeed then."""
    unsendable: int = 0
    """Values that no HTTP client can send, as a line end in a header."""
    statuses: Counter[int] = field(default_factory=Counter[int])
    reached: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])
    faults: list[str] = field(default_factory=list[str])
    slowest: float = 0.0

    def add(self, other: "Tally") -> None:
        """Takes another's in."""
        self.calls += other.calls
        self.busy += other.busy
        self.unsendable += other.unsendable
        self.statuses += other.statuses
        self.faults += other.faults
        self.slowest = max(self.slowest, other.slowest)
        for label, counted in other.reached.items():
            self.reached.setdefault(label, Counter()).update(counted)


def problem_faults(status: int, headers: Mapping[str, str], body: bytes, asked: str = "") -> list[str]:
    """What is wrong with a problem document (RFC 9457) and the headers that belong to it. Header names in lower case.

    What was `asked` may be repeated, whatever it is.
    """
    if headers.get("content-type") != "application/problem+json":
        return [f"an answer {status} has content type {headers.get('content-type')}"]
    try:
        said: Any = json.loads(body)
    except ValueError:
        return ["a problem document is no JSON"]
    faults: list[str] = []
    if said.get("status") != status:
        faults.append(f"the document of an answer {status} says status {said.get('status')}")
    reason = said.get("reason", "")
    if not _REASON.fullmatch(reason):
        faults.append(f"'{reason}' is no reason")
    if said.get("type") != f"urn:kehu:problem:{reason.lower().replace('_', '-')}":
        faults.append(f"type {said.get('type')} is not that of {reason}")
    trace = said.get("traceId", "")
    if not _TRACE.fullmatch(trace) or trace not in headers.get("traceparent", ""):
        faults.append(f"traceId '{trace}' is not that of the answer")
    if not said.get("title") or not said.get("detail") or not str(said.get("instance", "")).startswith("/"):
        faults.append("title, detail or instance is missing")
    if any(not one.get("field") or not one.get("description") for one in said.get("violations", ())):
        faults.append("a violation lacks its field or its description")
    if inside(said.get("detail", ""), asked):
        faults.append(f"the detail tells of the inside: {said['detail'][:200]}")
    for code, name in (
        (401, "www-authenticate"),
        (405, "allow"),
        *((one, "retry-after") for one in _WITH_RETRY),
    ):
        if status == code and not headers.get(name):
            faults.append(f"an answer {status} lacks the header {name}")
    return faults


def answer_faults(case: Case, answer: Response) -> list[str]:
    """What is wrong with the answer to that call: a fault of ours, off the document, or a problem document that is none."""
    faults: list[str] = []
    status = answer.status_code
    headers = {name.lower(): values[0] for name, values in answer.headers.items()}
    if status >= 500 and not (status == 503 and headers.get("retry-after")):
        faults.append(f"answered {status}")
    if status >= 400:
        asked = repr((case.path_parameters, case.query, case.headers, case.body))
        faults += problem_faults(status, headers, answer.content, asked)
    try:
        case.validate_response(answer, checks=_CHECKS)
    except FailureGroup as group:
        faults += [" ".join(str(one).split())[:400] for one in group.exceptions]
    return faults


def inside(text: str, asked: str = "") -> bool:
    """Whether a message for people holds what only the inside of a program knows, and not who asked."""
    return any(found[0] not in asked for found in _INSIDE.finditer(text))


class Caller:
    """Makes the calls of one share, one after another."""

    def __init__(self, who: Who, share: Share) -> None:
        load_all_checks()
        self._who = who
        self._share = share
        self._session = requests.Session()
        self._pools = {path: [*ids] for path, ids in share.pools.items()}
        self.tally = Tally()
        document = self._session.get(f"{who.base_url}/openapi.json", timeout=_SECONDS).json()
        schema: Any = openapi.from_dict(closed(document))
        schema.config.update(base_url=who.base_url)
        schema.config.generation.update(with_security_parameters=False, allow_extra_parameters=False)
        schema.config.output.sanitization.update(enabled=False)  # what led to a fault must be seen
        found = {one.label: one for one in map(_understood, schema.get_all_operations())}
        self._schema = schema
        self._operations = [found[label] for label in share.labels]
        self._sign_in()

    def run(self) -> Tally:
        """All calls of the share, in rounds through its operations."""
        for number in range(10_000):
            before = self.tally.calls
            left = self._share.calls - before
            if left <= 0:
                break
            each = max(1, left // len(self._operations))
            for operation in self._operations:
                self._round(operation, min(each, self._share.calls - self.tally.calls), number)
            if self.tally.calls == before:
                break  # there is nothing else that could be said
        return self.tally

    def _round(self, operation: Any, calls: int, number: int) -> None:
        """A third fits the document, a half breaks it, and the rest goes through its limits one by one."""
        chance = random.Random(f"{self._share.seed} {operation.label} {number}")
        if "{" in operation.path:
            self._furnish(operation.path.partition("/{")[0])
        for case in self._limits(operation, calls // 6, chance):
            self._call(case, chance)
        good = (calls - calls // 6) * 2 // 5
        self._generate(operation, GenerationMode.POSITIVE, good, chance)
        self._generate(operation, GenerationMode.NEGATIVE, calls - calls // 6 - good, chance)

    def _limits(self, operation: Any, calls: int, chance: random.Random) -> Iterator[Case]:
        if calls <= 0:
            return
        modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
        config = self._schema.config.generation_for(operation=operation)
        every: Iterator[Case] = self._schema.iter_coverage_cases(
            operation, generation_modes=modes, generation_config=config
        )
        taken: list[Case] = []
        for place, case in enumerate(every):  # a fair choice without making all of them
            if place >= calls * 8:
                break
            if len(taken) < calls:
                taken.append(case)
            elif (at := chance.randrange(place + 1)) < calls:
                taken[at] = case
        yield from taken

    def _generate(self, operation: Any, mode: GenerationMode, calls: int, chance: random.Random) -> None:
        if calls <= 0:
            return

        @seed(chance.getrandbits(64))
        @settings(
            max_examples=calls, phases=[Phase.generate], database=None, deadline=None,
            suppress_health_check=_EVERY_CHECK,
        )  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def every(case: Case) -> None:
            self._call(case, chance)

        with suppress(Unsatisfiable):  # there is nothing in it that could be broken
            every()

    def _call(self, case: Case, chance: random.Random) -> None:
        self._point_at_records(case, chance)
        began = time.monotonic()
        try:
            answer = self._answered(case)
        except (requests.exceptions.InvalidHeader, UnicodeError, ValueError):
            self.tally.unsendable += 1
            return
        except requests.exceptions.RequestException as error:
            self.tally.calls += 1
            self._fault(case, f"no answer: {type(error).__name__} after {time.monotonic() - began:.1f} s")
            return
        self.tally.slowest = max(self.tally.slowest, time.monotonic() - began)
        self.tally.calls += 1
        self.tally.statuses[answer.status_code] += 1
        self.tally.reached.setdefault(case.operation.label, Counter())[answer.status_code] += 1
        for fault in answer_faults(case, answer):
            self._fault(case, f"{fault}; it says {answer.text[:300]}" if answer.status_code >= 400 else fault)
        self._learn(case, answer)

    def _answered(self, case: Case) -> Response:
        """The answer, signed in again where a call has ended the session, and asked again where there was no room."""
        signed_in = False
        attempt = -1
        while True:
            attempt += 1
            answer: Response = case.call(session=self._session, headers=dict(self._headers), timeout=_SECONDS)
            if (
                answer.status_code == 401
                and not signed_in
                and not case.operation.label.startswith("POST /v1/sessions:")
            ):
                signed_in = True
                self._sign_in()
                continue
            if answer.status_code not in (429, 503, 504) or attempt >= _REPEATS:
                return answer
            self.tally.busy += 1
            time.sleep(min(2.0, float((answer.headers.get("retry-after") or ["1"])[0])))

    def _fault(self, case: Case, what: str) -> None:
        how = case.as_curl_command(headers={})
        self.tally.faults.append(f"{case.operation.label}: {what} ({how[:1500]})")

    def _sign_in(self) -> None:
        said = {"tenant": self._who.tenant, "email": self._who.email, "password": self._who.password}
        url = f"{self._who.base_url}/v1/sessions:signIn"
        answer = self._session.post(url, json=said, timeout=_SECONDS)
        for _ in range(_REPEATS):
            if answer.status_code == 200:
                break
            time.sleep(0.5)
            answer = self._session.post(url, json=said, timeout=_SECONDS)
        assert answer.status_code == 200, answer.text
        self._headers = {"Authorization": f"Bearer {answer.json()['accessToken']}"}
        self._session.cookies.clear()

    # ---- records that are there

    def _point_at_records(self, case: Case, chance: random.Random) -> None:
        likely = (
            0.4 if case.meta is not None and case.meta.generation.mode is GenerationMode.NEGATIVE else 0.9
        )
        path: str = case.operation.path
        if case.path_parameters and chance.random() < likely:
            ids = self._pools.get(path.partition("{")[0], ())
            if ids:
                name = path.partition("{")[2].partition("}")[0]
                case.path_parameters = {**case.path_parameters, name: chance.choice(ids)}
        for name in ("If-Match", "If-None-Match", "Idempotency-Key"):
            if name in case.headers and chance.random() < likely:
                del case.headers[name]
        # A new record gets an id of its own: one that is taken would be refused for that.
        own = "" if "{" in path else path + "/"
        if isinstance(case.body, dict) and path in BODIES and chance.random() < likely / 2:
            case.body = {**BODIES[path](self._pools, a_name()), **case.body}  # else few would be whole
        if isinstance(case.body, dict | list):
            case.body = self._referring(case.body, chance, likely, own)
        if case.query:
            case.query = self._referring(case.query, chance, likely, own)

    def _referring(self, value: Any, chance: random.Random, likely: float, own: str) -> Any:
        if isinstance(value, list):
            return [self._referring(one, chance, likely, own) for one in cast("list[Any]", value)]
        if not isinstance(value, dict):
            return value
        out: dict[str, Any] = {}
        for name, one in cast("dict[str, Any]", value).items():
            if name in _GUARDS and chance.random() < likely:
                continue
            place = _place_of(name)
            ids: Sequence[str] = self._pools.get(place, ()) if place != own else ()
            known = ids or _WORDS.get(name, ())
            if known and isinstance(one, str) and one and chance.random() < (likely if ids else 0.5):
                out[name] = chance.choice(known)
            elif ids and isinstance(one, list) and one and name.endswith("Ids") and chance.random() < likely:
                out[name] = [chance.choice(ids)]
            else:
                out[name] = self._referring(one, chance, likely, own)
        return out

    def _learn(self, case: Case, answer: Response) -> None:
        """What was made is there from now on. Lists are not learned from: they hold the caller's own person and role."""
        path: str = case.operation.path
        if answer.status_code != 200 or case.operation.method != "post" or "{" in path or ":" in path:
            return
        with suppress(ValueError):
            self._keep(path, id_of(answer.json()))

    def _keep(self, path: str, id: str) -> None:
        if id:
            pool = self._pools.setdefault(path + "/", [])
            pool.append(id)
            del pool[:-_KEPT]

    def _furnish(self, path: str) -> None:
        """Makes a fresh record there, since what is there may have been deleted or moved to its last state."""
        if path not in BODIES:
            return
        body = BODIES[path](self._pools, a_name())
        answer = self._session.post(
            self._who.base_url + posted_to(path), json=body, headers=self._headers, timeout=_SECONDS
        )
        if answer.status_code == 200:
            self._keep(path, id_of(answer.json()))


def _understood(found: Any) -> Any:
    """The operation. Raises ValueError when the document does not describe it as OpenAPI wants it."""
    if type(found).__name__ == "Err":
        raise ValueError(f"the document is wrong about {found.err()!r}")
    return found.ok()


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with every object closed: no request gets far with a field that is unknown, and no answer may hold one.
    For clients the document leaves them open, so that a field may be added.
    """
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document


def _place_of(name: str) -> str:
    """The path below which the records stand that a field of that name names: `/v1/customers/` for `customerId`."""
    if name.endswith("Ids"):
        name = name[:-1]
    if not name.endswith("Id"):
        return ""
    kind = name[:-2]
    if kind in _PEOPLE:
        return "/v1/people/"
    return f"/v1/{kind[:-1]}ies/" if kind.endswith("y") else f"/v1/{kind}s/"


_ORDER = {"post": 0, "get": 1, "patch": 2, "delete": 4}


def labels_of(document: Mapping[str, Any]) -> list[str]:
    """All operations, in the order in which they are of most use to each other: made, read, changed, moved, deleted."""
    found: list[tuple[int, str]] = []
    for path, methods in document["paths"].items():
        for method in methods:
            label = f"{method.upper()} {path}"
            if label not in ENDLESS:
                found.append((3 if method == "post" and "{" in path else _ORDER[method], label))
    return [label for _, label in sorted(found)]


def shares(
    document: Mapping[str, Any], seed: int, calls: int, pools: Mapping[str, Sequence[str]], many: int
) -> list[Share]:
    """The work of that many processes. Operations of one kind stay together, since they live by each other's records."""
    kinds: dict[str, list[str]] = {}
    for label in labels_of(document):
        kinds.setdefault(re.split(r"[/:]", label.partition("/v1/")[2])[0], []).append(label)
    groups: list[list[str]] = [[] for _ in range(many)]
    for labels in sorted(kinds.values(), key=len, reverse=True):
        min(groups, key=len).extend(labels)
    whole = sum(map(len, groups))
    return [
        Share(number, seed, tuple(labels), -(-calls * len(labels) // whole), pools)
        for number, labels in enumerate(groups)
        if labels
    ]


def run_share(who: Who, share: Share) -> Tally:
    """The calls of one share, for a process of its own."""
    return Caller(who, share).run()
