"""Secrets of others that have to be used again, as the password of a mailbox: kept so that the database alone gives none away.

Each secret is encrypted with a key of its own, and that key with the service's (`KEHU_SECRET_KEYS`), both by AES-256-GCM. What it
belongs to is bound to it: a sealed secret that is copied to another record cannot be opened there. The first of the service's
keys seals; all of them open, so that a new one is put in front and the old ones stay until nothing is sealed with them any more.
"""

import os
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chassis.errors import Precondition
from chassis.settings import Settings

_FORM = b"\x01"
_NONCE, _KEY, _TAG, _MARK = 12, 32, 16, 8


class NoSecretKey(Precondition):
    """The operator has given no key, or none that opens this."""

    reason = "NO_SECRET_KEY"

    def __init__(self) -> None:
        super().__init__("Who runs Kehu has to set KEHU_SECRET_KEYS before secrets can be kept here.")


def _keys(settings: Settings) -> list[bytes]:
    texts = settings.secret_keys.get_secret_value().split(",")
    return [sha256(text.strip().encode()).digest() for text in texts if text.strip()]


def _mark(key: bytes) -> bytes:
    """By what a key is known, without giving it away."""
    return sha256(b"mark " + key).digest()[:_MARK]


def seal(settings: Settings, secret: str, what: str) -> bytes:
    """The secret, sealed for `what` it belongs to, as a record's id. Raises NoSecretKey."""
    keys = _keys(settings)
    if not keys:
        raise NoSecretKey
    own = os.urandom(_KEY)
    first, second = os.urandom(_NONCE), os.urandom(_NONCE)
    bound = what.encode()
    wrapped = AESGCM(keys[0]).encrypt(first, own, bound)
    return (
        _FORM
        + _mark(keys[0])
        + first
        + wrapped
        + second
        + AESGCM(own).encrypt(second, secret.encode(), bound)
    )


def unseal(settings: Settings, sealed: bytes, what: str) -> str:
    """The secret that was sealed for `what`. Raises NoSecretKey when none of the service's keys opens it."""
    head = 1 + _MARK
    mark, rest = sealed[1:head], sealed[head:]
    key = next((one for one in _keys(settings) if _mark(one) == mark), None)
    if key is None or sealed[:1] != _FORM:
        raise NoSecretKey
    wrapped_end = _NONCE + _KEY + _TAG
    try:
        own = AESGCM(key).decrypt(rest[:_NONCE], rest[_NONCE:wrapped_end], what.encode())
        rest = rest[wrapped_end:]
        return AESGCM(own).decrypt(rest[:_NONCE], rest[_NONCE:], what.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise NoSecretKey from error
