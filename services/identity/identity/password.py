"""Passwords: argon2id, hashed off the event loop, and a brake on guessing.

A hash takes 19 MiB, two rounds and one lane, which OWASP's Password Storage Cheat Sheet holds as hard to guess as heavier
mixes. It costs a seventh of the processor's time that the library's own choice takes (64 MiB, three rounds, four lanes), and
so a rush of sign-ins is served instead of timing out. As many are made at once as there are processors: more would only take
turns and all end later.

The brake counts failures of the last 15 minutes for an e-mail address and for a client address. It holds for e-mail addresses
that do not exist as well, so it tells nothing.
"""

import asyncio
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import text

from chassis.database import Transaction
from identity.errors import PasswordTooWeak, TooManyAttempts

WINDOW = timedelta(minutes=15)
MOST_FOR_EMAIL = 10
MOST_FOR_ADDRESS = 100
SHORTEST = 12
LONGEST = 128
_COMMON = frozenset(
    {"123456789012", "password1234", "passwordpassword", "qwertyuiop12", "administrator", "changeme1234"}
)

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(os.cpu_count(), "passwords")
_NOBODYS = (
    f"$argon2id$v=19$m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    f"${'A' * 22}${'A' * 43}"
)
"""The hash of no password, checked against when there is no such person, so that the answer takes as long. Written down
rather than computed: that would be a tenth of the time in which the service starts."""


def check_strength(password: str, field: str, *, email: str = "", name: str = "") -> None:
    """Raises PasswordTooWeak. Length counts, rules of composition do not (NIST SP 800-63B)."""
    low = password.lower()
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordTooWeak(field, f"must have {SHORTEST} to {LONGEST} characters")
    if low in _COMMON or len(set(low)) < 5:
        raise PasswordTooWeak(field, "is too easy to guess")
    if any(len(part) >= 4 and part.lower() in low for part in (email, email.partition("@")[0], name)):
        raise PasswordTooWeak(field, "must not hold the e-mail address or the name")


def one_time() -> str:
    """A fresh password for handing out: four groups of five, about 115 bits."""
    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


async def hashed(password: str) -> str:
    """The argon2id hash."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, password)


async def matches(password: str, hash: str | None) -> bool:
    """Whether the password is the one behind the hash. Takes as long without a hash."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _matches, password, hash)


def _matches(password: str, hash: str | None) -> bool:
    try:
        return _hasher.verify(hash or _NOBODYS, password) and bool(hash)
    except (VerificationError, InvalidHashError):
        return False


def _limits(email: str, address: str) -> dict[str, int]:
    limits = {f"email:{email}": MOST_FOR_EMAIL}
    if address:
        limits[f"address:{address}"] = MOST_FOR_ADDRESS
    return limits


async def check_brake(tx: Transaction, email: str, address: str) -> None:
    """Raises TooManyAttempts when the e-mail or the client address has failed too often of late."""
    limits = _limits(email, address)
    found = await tx.session.execute(
        text(
            "SELECT key, failures, began_at FROM sign_in_failures WHERE key = ANY(:keys) AND began_at > :since"
        ),
        {"keys": list(limits), "since": tx.now - WINDOW},
    )
    for key, failures, began in found:
        if failures >= limits[key]:
            until: datetime = began + WINDOW
            raise TooManyAttempts((until - tx.now).total_seconds())


async def count_failure(tx: Transaction, email: str, address: str) -> None:
    """Counts one failure for the e-mail and the client address."""
    for key in sorted(_limits(email, address)):
        await tx.session.execute(
            text(
                "INSERT INTO sign_in_failures (tenant_id, key, failures, began_at) VALUES (:tenant, :key, 1, :now)"
                " ON CONFLICT (tenant_id, key) DO UPDATE SET"
                " failures = CASE WHEN sign_in_failures.began_at > :since THEN sign_in_failures.failures + 1 ELSE 1 END,"
                " began_at = CASE WHEN sign_in_failures.began_at > :since THEN sign_in_failures.began_at ELSE :now END"
            ),
            {"tenant": tx.who.tenant_id, "key": key, "now": tx.now, "since": tx.now - WINDOW},
        )


async def clear_failures(tx: Transaction, email: str) -> None:
    """A success clears the count of the e-mail; that of the address runs out by itself."""
    await tx.session.execute(text("DELETE FROM sign_in_failures WHERE key = :key"), {"key": f"email:{email}"})
