"""Made-up calls of every method of every service, past the gateway, and what is wrong with their answers."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from chassis.principal import IDENTITY, Issuer, Principal
from chassis.rpc.status import DETAILS, DOMAIN
from gateway.contracts import Method, load
from proof.api_calls import inside
from proof.rpc_messages import bytes_of, request_of

AT_ONCE = 8
_SLACK = 10.0
"""Seconds beyond a method's deadline after which it counts as hanging: the machine may be busy, and it is the service that
must end the call.
"""
_NEVER = {"UNKNOWN", "INTERNAL", "DATA_LOSS", "UNIMPLEMENTED", "CANCELLED", "OUT_OF_RANGE"}
_BUSY = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
_REPEATS = 4
_REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


@dataclass
class Tally:
    """What came of the calls."""

    calls: int = 0
    busy: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    succeeded: set[str] = field(default_factory=set[str])
    """Methods that did what was asked at least once."""
    faults: list[str] = field(default_factory=list[str])
    slowest: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    code: str
    message: str
    details: bytes
    """The `google.rpc.Status` in its trailing metadata; empty when there was none."""
    seconds: float


def ended_faults(ended: Ended, deadline: float) -> list[str]:
    """What is wrong with how a call ended, as the rules of errors have it."""
    faults: list[str] = []
    if ended.seconds > deadline + _SLACK:
        faults.append(f"took {ended.seconds:.1f} s, its deadline is {deadline:.1f}")
    if ended.code == "OK":
        return faults
    if ended.code in _NEVER:
        faults.append(f"ended {ended.code}: {ended.message[:300]}")
    if inside(ended.message):
        faults.append(f"tells of the inside: {ended.message[:300]}")
    if not ended.details:
        return [*faults, f"ended {ended.code} without details: {ended.message[:300]}"]
    status = status_pb2.Status.FromString(ended.details)
    if grpc.StatusCode[ended.code].value[0] != status.code or status.message != ended.message:
        faults.append(f"ended {ended.code}, its details say {status.code} '{status.message[:200]}'")
    info, bad, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    found = {
        type(one).__name__ for one in (info, bad, retry) for detail in status.details if detail.Unpack(one)
    }
    if not _REASON.fullmatch(info.reason) or info.domain != DOMAIN:
        faults.append(f"ended {ended.code} with reason '{info.reason}' of domain '{info.domain}'")
    if ended.code == "INVALID_ARGUMENT" and not bad.field_violations:
        faults.append(f"ended INVALID_ARGUMENT and names no field: {ended.message[:200]}")
    if any(not one.field or not one.description for one in bad.field_violations):
        faults.append(f"names a violation without field or description: {ended.message[:200]}")
    if ended.code == "RESOURCE_EXHAUSTED" and "RetryInfo" not in found:
        faults.append("ended RESOURCE_EXHAUSTED and does not say when to come back")
    return faults


@dataclass(frozen=True)
class Target:
    """Services by domain and address, and who calls them."""

    addresses: Mapping[str, str]
    who: Principal
    keys: Path
    """Folder of the private keys, with which a person's and services' tokens are made."""
    pools: Mapping[str, Sequence[str]]
    """Ids of records that are there, by the path below which they stand."""


def fuzz(target: Target, calls: int, seed: int) -> Tally:
    """About that many calls, as many of each method; what came of them. The same seed makes the same requests."""
    return asyncio.run(_Calls(target, seed).run(calls))


class _Calls:
    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._seed = seed
        self._methods = [method for method in load().methods if method.domain in target.addresses]
        self._issuers = {path.stem: Issuer.from_file(path.stem, path) for path in target.keys.glob("*.pem")}
        self._ids = {_field_of(path): [*ids] for path, ids in target.pools.items()}
        people = self._ids.get("person_id", [])
        for name in ("owner_id", "assignee_id", "manager_id", "creator_id"):
            self._ids.setdefault(name, people)
        self.tally = Tally()

    async def run(self, calls: int) -> Tally:
        channels = {
            domain: grpc.aio.insecure_channel(
                address,
                options=[("grpc.max_send_message_length", 2**26), ("grpc.enable_retries", 0)],
            )
            for domain, address in self._target.addresses.items()
        }  # fmt: skip
        try:
            each = max(1, -(-calls // len(self._methods)))
            work = iter([(method, number) for number in range(each) for method in self._methods])

            async def keep_on() -> None:
                for method, number in work:
                    await self._call(channels[method.domain], method, number)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(keep_on())
        finally:
            for channel in channels.values():
                await channel.close(None)
        return self.tally

    async def _call(self, channel: grpc.aio.Channel, method: Method, number: int) -> None:
        chance = random.Random(f"{self._seed} {method.path} {number}")
        request = bytes_of(request_of(method.request, chance, self._ids, self._own(method)), chance)
        metadata = self._metadata(method, chance)
        given = chance.choice((None, None, None, 0.0005, 0.02, 60.0))
        attempt = -1
        while True:
            attempt += 1
            ended = await _ended(channel, method, request, metadata, given)
            if ended.code not in _BUSY or given or attempt >= _REPEATS:
                break
            self.tally.busy += 1
            await asyncio.sleep(0.3 * (attempt + 1))
        self.tally.calls += 1
        self.tally.outcomes[ended.code] += 1
        if given is None:
            self.tally.slowest = max(self.tally.slowest, ended.seconds)
        if ended.code == "OK":
            self.tally.succeeded.add(method.path)
        if given and given < 1 and ended.code not in _NEVER:
            return  # the client may not have waited for the service's own words
        if ended.code == "RESOURCE_EXHAUSTED" and any(
            name == "x-long" and len(value) > 3_000 for name, value in metadata
        ):
            return  # gRPC itself refuses so much metadata
        said = f"{method.path} {number}: request {request[:600]!r}, {len(metadata)} metadata"
        self.tally.faults += [
            f"{method.path}: {fault} ({said})" for fault in ended_faults(ended, method.deadline)
        ]

    def _own(self, method: Method) -> Sequence[str]:
        service = method.service.rpartition(".")[2].removesuffix("Service")
        if service == "Import":
            return self._target.pools.get(f"/v1/{method.domain}/imports/", ())
        return self._ids.get(
            re.sub(r"(?<=[a-z])(?=[A-Z])", "_", service.removeprefix("Web")).lower() + "_id", ()
        )

    def _metadata(self, method: Method, chance: random.Random) -> list[tuple[str, str | bytes]]:
        who = self._target.who
        services = [name for name in method.access.services if name in self._issuers]
        if services and (chance.random() < 0.6 or not (method.access.right or method.access.signed_in)):
            name = chance.choice(services)
            token = self._issuers[name].issue(who.acting_as(name))
        else:
            token = self._issuers[IDENTITY].issue(who)
        found: list[tuple[str, str | bytes]] = [("authorization", f"Bearer {token}")]
        match chance.randrange(20):
            case 0:
                return []
            case 1:
                return [
                    (
                        "authorization",
                        chance.choice(("Bearer", "Bearer x", "Basic eDp5", "Bearer a.b.c", token[:-5])),
                    )
                ]
            case 2:
                wrong = self._issuers[chance.choice(sorted(self._issuers))]
                return [("authorization", f"Bearer {wrong.issue(who, ttl=chance.choice((-5.0, 60.0)))}")]
            case 3:
                return [*found, *found, ("authorization", "Bearer x")]
            case 4:
                return [
                    *found,
                    (
                        "traceparent",
                        chance.choice(("", "00", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "zz" * 40)),
                    ),
                ]
            case 5:
                return [*found, ("x-long", "a" * chance.choice((100, 4_000, 20_000)))]
            case 6:
                return [
                    *found,
                    ("authorization-bin", chance.randbytes(20)),
                    ("grpc-status-details-bin", b"\xff"),
                ]
            case _:
                return found


def _field_of(path: str) -> str:
    """`customer_id` for `/v1/customers/`."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path.strip("/").rpartition("/")[2]).lower()
    kind = (
        "person"
        if kind == "people"
        else re.sub(r"ies$", "y", kind)
        if kind.endswith("ies")
        else kind.removesuffix("s")
    )
    return f"{kind}_id"


async def _ended(
    channel: Any,
    method: Method,
    request: bytes,
    metadata: Sequence[tuple[str, str | bytes]],
    given: float | None,
) -> Ended:
    call = channel.unary_unary(method.path)(
        request, timeout=given or method.deadline + _SLACK + 5, metadata=tuple(metadata)
    )
    began = time.monotonic()
    code, message = await call.code(), await call.details()
    trailing = await call.trailing_metadata() or ()
    details = next((value for key, value in trailing if key == DETAILS and isinstance(value, bytes)), b"")
    return Ended(code.name, message or "", details, time.monotonic() - began)
