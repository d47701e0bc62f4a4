"""Every method of every service, called on the service's own port past the gateway, by those who may not."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.principal import GATEWAY, IDENTITY, Issuer, Principal, Reach, Rights
from chassis.testing import EVERYTHING
from gateway.contracts import Method, load
from kehu_local.suite import Suite
from proof.company import World, record_for
from proof.requests import request_of

METHODS = load().methods
CODES = grpc.StatusCode


class Faces:
    """The services' ports, and keys to sign with."""

    def __init__(self, suite: Suite, world: World) -> None:
        self._channels = {d: grpc.insecure_channel(part.address) for d, part in suite.services.items()}
        self._suite, self._world = suite, world
        self.owner = Principal(
            tenant_id=UUID(world.tenant_id), tenant="ours", person_id=UUID(world.ids["person_id"]), name="Ann",
            team_id=None, team_ids=frozenset(), rights=EVERYTHING,
        )  # fmt: skip
        self.asked = b""
        """What was asked last."""
        self.rival = replace(self.owner, tenant_id=uuid4(), tenant="nobody", person_id=uuid4())

    def issuer(self, name: str) -> Issuer:
        return Issuer.from_file(name, self._suite.keys.private(name))

    def call(self, method: Method, token: str | None) -> tuple[Any, bytes]:
        """The status and the answer's bytes of that method, called about our record."""
        record = record_for(self._world, method.service, method.domain)
        request = request_of(method, self._world.ids, record)
        self.asked = request.SerializeToString()
        channel: Any = self._channels[method.domain]
        call = channel.unary_unary(method.path, request_serializer=method.request.SerializeToString)
        metadata = [] if token is None else [("authorization", f"Bearer {token}")]
        try:
            return CODES.OK, call(request, metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            return error.code(), str(error.details()).encode()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()


@pytest.fixture(scope="module")
def faces(suite: Suite, world: World) -> Iterator[Faces]:
    made = Faces(suite, world)
    yield made
    made.close()


@pytest.fixture(scope="module")
def ours(world: World, rows_of: Any) -> Any:
    look = rows_of(world.tenant_id)
    look.settled()
    return look


def forged(faces: Faces) -> dict[str, str]:
    """Tokens that say the right thing and prove nothing."""
    good = faces.issuer(IDENTITY)
    claims = jwt.decode(good.issue(faces.owner), options={"verify_signature": False})
    stranger = Issuer(IDENTITY, Ed25519PrivateKey.generate())
    header, body, signature = good.issue(faces.owner).split(".")
    return {
        "no token at all": "garbage",
        "another key": stranger.issue(faces.owner),
        "expired": good.issue(faces.owner, ttl=-120),
        "no algorithm": jwt.encode(claims, "", algorithm="none", headers={"kid": IDENTITY}),
        "the public key as a secret": jwt.encode(
            claims, "x" * 32, algorithm="HS256", headers={"kid": IDENTITY}
        ),
        "what a person holds, which is for the gateway": good.issue(faces.owner, audience=GATEWAY),
        "an unknown issuer": jwt.encode(
            claims, stranger.private_key, algorithm="EdDSA", headers={"kid": "mallory"}
        ),
        "a service that says it is identity": Issuer("marketing", faces.issuer("marketing").private_key)
        .issue(faces.owner)
        .replace(".", "..", 1),
        "another signature": f"{header}.{body}.{signature[:-6]}AAAAAA",
    }


def test_every_method_is_tried() -> None:
    assert len(METHODS) > 150 and {method.domain for method in METHODS} >= {"sales", "servicedesk"}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.path)
def test_without_a_valid_token(method: Method, faces: Faces, ours: Any) -> None:
    for what, token in {"none": None, **forged(faces)}.items():
        code, answer = faces.call(method, token)
        if method.access.public and token is None:
            assert code not in (CODES.OK, CODES.INTERNAL, CODES.UNKNOWN), (what, code, answer)
        else:
            assert code is CODES.UNAUTHENTICATED, (what, code, answer)
    assert ours.unchanged()


@pytest.mark.parametrize("method", [m for m in METHODS if not m.access.public], ids=lambda m: m.path)
def test_with_another_tenants_token(method: Method, faces: Faces, world: World, ours: Any) -> None:
    """Somebody who may do everything, in a tenant that is not this one."""
    if method.domain == "identity" and method.access.signed_in:
        pytest.skip("is about the caller's own session")
    code, answer = faces.call(method, faces.issuer(IDENTITY).issue(faces.rival))
    assert code not in (CODES.INTERNAL, CODES.UNKNOWN, CODES.UNAVAILABLE), answer
    assert not (code is CODES.OK and world.betrayed_by(answer, faces.asked)), answer
    assert b"Ours-" not in answer
    assert ours.unchanged()


@pytest.mark.parametrize("method", [m for m in METHODS if m.access.right], ids=lambda m: m.path)
def test_with_too_little_right(method: Method, faces: Faces, ours: Any) -> None:
    """Every right there is, but for the one that is needed; and reading where it takes writing."""
    rights = {name: right for name, right in EVERYTHING.items() if name != method.access.right}
    without = [rights]
    if not method.reads:
        without.append({**EVERYTHING, method.access.right: Rights(Reach.ALL, Reach.NONE)})
    for having in without:
        token = faces.issuer(IDENTITY).issue(replace(faces.owner, rights=having))
        code, answer = faces.call(method, token)
        assert code is CODES.PERMISSION_DENIED, (code, answer)
    assert ours.unchanged()


@pytest.mark.parametrize("method", [m for m in METHODS if not m.access.public], ids=lambda m: m.path)
def test_a_service_may_only_what_its_name_stands_for(method: Method, faces: Faces, ours: Any) -> None:
    for name in (
        "identity",
        "customers",
        "leads",
        "sales",
        "marketing",
        "servicedesk",
        "analytics",
        "notifications",
        "operator",
    ):
        if name in method.access.services or name == IDENTITY:
            continue
        token = faces.issuer(name).issue(faces.owner.acting_as(name))
        code, answer = faces.call(method, token)
        assert code is CODES.PERMISSION_DENIED, (name, code, answer)
    assert ours.unchanged()


OF_THE_TENANT = ("GetPipeline", "GetCadence", "ListCadences", "GetScoreRule", "ListScoreRules")
"""What whoever works with such records at all works by: it is nobody's."""


@pytest.mark.parametrize("method", [m for m in METHODS if m.access.right and m.reads], ids=lambda m: m.path)
def test_reach_own_ends_at_ones_own(method: Method, faces: Faces, world: World, ours: Any) -> None:
    """A colleague who may read what is theirs sees nothing of what is others'."""
    if method.access.right in ("people", "products", "settings"):
        pytest.skip("has no owner: who has the right reads all")
    who = replace(faces.owner, person_id=uuid4(), rights={method.access.right: Rights(Reach.OWN, Reach.NONE)})
    code, answer = faces.call(method, faces.issuer(IDENTITY).issue(who))
    assert code in (CODES.OK, CODES.NOT_FOUND, CODES.PERMISSION_DENIED, CODES.INVALID_ARGUMENT), (
        code,
        answer,
    )
    if code is CODES.OK and method.name not in OF_THE_TENANT:
        assert b"Ours-" not in answer, answer
    assert ours.unchanged()


def test_a_token_ends(faces: Faces) -> None:
    method = next(m for m in METHODS if m.name == "ListLeads")
    token = faces.issuer(IDENTITY).issue(faces.owner, ttl=1)
    assert faces.call(method, token)[0] is CODES.OK
    until = time.monotonic() + 60
    while faces.call(method, token)[0] is CODES.OK:
        assert time.monotonic() < until, "a token of one second lives for a minute"
        time.sleep(0.2)
