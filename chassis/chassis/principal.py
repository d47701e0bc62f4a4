"""Who asks: the tenant, the person, their teams and rights, carried as a short-lived signed token in every call.

Tokens are JWTs signed with EdDSA (RFC 8037). The key id in the header is the issuer's name. The identity service signs for
people; any other issuer is one of our services acting by itself, and its tokens carry `svc`, so that only methods whose
contract names that service let it in. Every service verifies for itself; nobody trusts the network.

A token that leaves the house names the gateway as its audience and opens no service: the gateway shows its own, fresh one, and so
knows within seconds when a session has ended. What somebody carries off is worth nothing past the gateway.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chassis.errors import Unauthenticated

IDENTITY = "identity"
"""The only issuer that may speak for a person who is present."""

GATEWAY = "gateway"
"""The audience of tokens that people and their programs hold."""

NOBODY = UUID(int=0)
"""The person id of work that no person started."""


class Act(Enum):
    READ = "read"
    WRITE = "write"


class Reach(IntEnum):
    """Whose records a right covers. Each includes the one before it."""

    NONE = 0
    OWN = 1
    TEAM = 2
    ALL = 3


@dataclass(frozen=True, slots=True)
class Rights:
    """How far a person may read and write one kind of record."""

    read: Reach = Reach.NONE
    write: Reach = Reach.NONE


NO_RIGHTS = Rights()


@dataclass(frozen=True)
class Principal:
    """The caller, as the signed token says it."""

    tenant_id: UUID
    tenant: str
    """The tenant's short name, as in event subjects: lower-case letters, digits and hyphens."""
    person_id: UUID
    name: str = ""
    team_id: UUID | None = None
    team_ids: frozenset[UUID] = frozenset()
    """The person's own team and all below it: what `team` reaches."""
    rights: Mapping[str, Rights] = field(default_factory=dict[str, Rights])
    service: str | None = None
    """Set when a service of ours acts by itself for the person named here."""
    session_id: UUID | None = None
    must_change_password: bool = False
    keeps_rights: bool = False
    """Of a service that acts for the person within their rights, and not by its own."""
    time_zone: str = ""
    """Where the person lives, by the name of the IANA database; empty when nobody has said."""

    def reach(self, right: str, act: Act) -> Reach:
        """How far this caller may read or write records of that kind. Services acting by themselves reach all, but for those that
        keep to the rights of the person for whom they act."""
        if self.service is not None and not self.keeps_rights:
            return Reach.ALL
        rights = self.rights.get(right, NO_RIGHTS)
        return rights.read if act is Act.READ else rights.write

    def acting_as(self, service: str) -> "Principal":
        """The same person and tenant, with a service of ours acting for them."""
        return replace(self, service=service, rights={}, session_id=None, keeps_rights=False)

    def within(self, service: str) -> "Principal":
        """The same person and tenant, with a service of ours acting for them within their rights: in work that outlives their
        call, and asks other services."""
        return replace(self, service=service, session_id=None, keeps_rights=True)


_LETTER = {Reach.NONE: "n", Reach.OWN: "o", Reach.TEAM: "t", Reach.ALL: "a"}
_REACH = {letter: reach for reach, letter in _LETTER.items()}


@dataclass(frozen=True)
class Issuer:
    """Signs tokens in the name of one of our services."""

    name: str
    private_key: Ed25519PrivateKey

    @classmethod
    def from_file(cls, name: str, path: Path) -> "Issuer":
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path} holds no Ed25519 key")
        return cls(name, key)

    def issue(self, who: Principal, ttl: float = 300.0, audience: str = "") -> str:
        """A token for that principal, valid for `ttl` seconds from now; with an audience, for nobody but it."""
        now = time.time()
        claims: dict[str, Any] = {
            "iss": self.name,
            "iat": int(now),
            "exp": int(now + ttl),
            "tid": str(who.tenant_id),
            "ten": who.tenant,
            "sub": str(who.person_id),
            "name": who.name,
        }
        if audience:
            claims["aud"] = audience
        if who.team_id is not None:
            claims["team"] = str(who.team_id)
        if who.team_ids:
            claims["teams"] = [str(team) for team in sorted(who.team_ids)]
        if who.session_id is not None:
            claims["sid"] = str(who.session_id)
        if who.must_change_password:
            claims["mcp"] = True
        if who.time_zone:
            claims["zone"] = who.time_zone
        if self.name == IDENTITY or who.keeps_rights:
            claims["rights"] = {r: _LETTER[v.read] + _LETTER[v.write] for r, v in who.rights.items()}
        if self.name != IDENTITY:
            claims["svc"] = self.name
        return jwt.encode(claims, self.private_key, algorithm="EdDSA", headers={"kid": self.name})


_CACHED_TOKENS = 4096


@dataclass
class Verifier:
    """Checks tokens against the public keys of all issuers. Verified tokens are remembered until they end.

    Without an audience it takes those that name none, with one those that name it.
    """

    keys: Mapping[str, Ed25519PublicKey]
    audience: str = ""
    _seen: dict[str, tuple[float, Principal]] = field(
        default_factory=dict[str, tuple[float, Principal]], repr=False
    )

    @classmethod
    def from_file(cls, path: Path, audience: str = "") -> "Verifier":
        """Reads a JWKS file (RFC 7517) of Ed25519 public keys whose `kid` is the issuer's name."""
        found: dict[str, Ed25519PublicKey] = {}
        for entry in json.loads(path.read_text())["keys"]:
            key = jwt.PyJWK.from_dict(entry, algorithm="EdDSA").key
            if not isinstance(key, Ed25519PublicKey):
                raise ValueError(f"{path}: key {entry.get('kid')} is no Ed25519 public key")
            found[str(entry["kid"])] = key
        return cls(found, audience)

    def verify(self, token: str) -> Principal:
        """The principal a token speaks for.

        Raises Unauthenticated when the token is altered, outdated, or signed by nobody we know.
        """
        known = self._seen.get(token)
        if known is not None:
            if known[0] > time.time():
                return known[1]
            del self._seen[token]
            raise Unauthenticated("Your sign-in has ended: sign in again.", reason="TOKEN_EXPIRED")
        try:
            issuer = str(jwt.get_unverified_header(token).get("kid", ""))
            key = self.keys[issuer]
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                issuer=issuer,
                audience=self.audience or None,
                options={"require": ["exp", "iat", "iss", "sub", "tid", "ten"]},
            )
            who = _principal(issuer, claims)
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("Your sign-in has ended: sign in again.", reason="TOKEN_EXPIRED") from error
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise Unauthenticated("The access token is not valid.", reason="TOKEN_INVALID") from error
        if len(self._seen) >= _CACHED_TOKENS:
            self._seen.clear()
        self._seen[token] = (float(claims["exp"]), who)
        return who


def _principal(issuer: str, claims: dict[str, Any]) -> Principal:
    if (issuer == IDENTITY) == ("svc" in claims):
        raise ValueError("a person's token comes from identity, a service's token from nobody else")
    rights: dict[str, str] = claims.get("rights", {})
    team = claims.get("team")
    session = claims.get("sid")
    return Principal(
        tenant_id=UUID(claims["tid"]),
        tenant=str(claims["ten"]),
        person_id=UUID(claims["sub"]),
        name=str(claims.get("name", "")),
        team_id=UUID(team) if team else None,
        team_ids=frozenset(UUID(t) for t in claims.get("teams", ())),
        rights={r: Rights(_REACH[v[0]], _REACH[v[1]]) for r, v in rights.items()},
        service=issuer if issuer != IDENTITY else None,
        keeps_rights=issuer != IDENTITY and "rights" in claims,
        session_id=UUID(session) if session else None,
        must_change_password=bool(claims.get("mcp", False)),
        time_zone=str(claims.get("zone", "")),
    )
