"""The keys and secrets of one installation, kept in a folder that only its user may read."""

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key


@dataclass(frozen=True)
class Keys:
    """Key pairs of everyone who signs tokens, and one secret from which all passwords are derived."""

    folder: Path

    @property
    def jwks(self) -> Path:
        """The file of public keys (RFC 7517); the key id is the issuer's name."""
        return self.folder / "jwks.json"

    def private(self, issuer: str) -> Path:
        """The PEM file (PKCS 8) of that issuer's private key."""
        return self.folder / f"{issuer}.pem"

    def secret(self, purpose: str) -> str:
        """A secret for that purpose; the same at every start."""
        root = (self.folder / "secret").read_text()
        return hmac.new(root.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def make_keys(folder: Path, issuers: Iterable[str]) -> Keys:
    """Makes what is missing in the folder: key pairs of those issuers, the file of public keys, and the secret."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    keys = Keys(folder)
    if not (folder / "secret").exists():
        _write_private(folder / "secret", secrets.token_hex(32).encode())
    for issuer in issuers:
        if not keys.private(issuer).exists():
            _write_private(
                keys.private(issuer),
                Ed25519PrivateKey.generate().private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
            )
    public = [_public(path) for path in sorted(folder.glob("*.pem"))]
    fresh = keys.jwks.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": public}, indent=1) + "\n")
    fresh.rename(keys.jwks)
    return keys


def _write_private(path: Path, content: bytes) -> None:
    # Never readable by others, not even for a moment; and wholly there or not at all.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    fresh.rename(path)


def _public(path: Path) -> dict[str, str]:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} holds no Ed25519 key")
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": path.stem, "x": x}
