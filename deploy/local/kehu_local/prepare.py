"""What an installation of containers needs before its services start: databases with roles, keys, passwords, users of the broker.

    DIR/secret, DIR/keys/            kept: the same secrets come out of them each time
    DIR/<part>/                      for each service and the gateway: a file for each secret, and all settings in `env`
    DIR/owners/kehu-<service>        addresses as the roles that own the tables
    DIR/nats/nats.conf               the broker's configuration; NATS_<USER>_PASSWORD beside it
    DIR/jwks.json                    the public keys

On Kubernetes the folders become Secrets (`kubectl create secret generic kehu-sales --from-file=DIR/sales`), with Compose they are
mounted.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from kehu_local.composition import GATEWAY, MEMBERS, OPERATOR, Member
from kehu_local.databases import make_databases, urls_of
from kehu_local.keys import Keys, make_keys
from kehu_local.nats import ADMIN, User, admin, configuration, erp_name, erp_user, gateway_user, service_user

MOUNTED = "/run/kehu"
"""Where a part finds its folder."""


def prepare(folder: Path, server: str, nats_host: str, erp_tenants: Sequence[str] = ()) -> None:
    """Makes what is missing and writes the folder. `server` is PostgreSQL's address as an administrator.

    Run again it changes nothing but what was added. Raises OSError, asyncpg's errors.
    """
    keys = make_keys(folder / "keys", [*(member.domain for member in MEMBERS), GATEWAY, OPERATOR])
    secret = keys.secret("databases")
    asyncio.run(make_databases(server, [member.domain for member in MEMBERS], secret))
    _write(folder / "jwks.json", keys.jwks.read_text())
    folder.chmod(0o700)
    names = {member.domain: member.module.replace("_", "-") for member in MEMBERS}
    shared = {
        "KEHU_NATS_URL": f"nats://{nats_host}:4222",
        "KEHU_TOKEN_KEYS": f"{MOUNTED}/jwks.json",
        "KEHU_TOKEN_KEY": f"{MOUNTED}/token-key.pem",
        **{f"KEHU_ADDRESS_{domain.upper()}": f"kehu-{name}:50051" for domain, name in names.items()},
    }
    for member in MEMBERS:
        _service(folder / names[member.domain], member, keys, server, secret, shared)
        owner = urls_of(server, member.domain, secret).owner
        _write(folder / "owners" / f"kehu-{names[member.domain]}", owner)
    _part(folder / GATEWAY, keys, GATEWAY, {"nats-password": _password(keys, GATEWAY)}, shared)
    _broker(folder / "nats", keys, erp_tenants)


def _password(keys: Keys, user: str) -> str:
    # In a variable of its environment the broker takes what begins with a digit for a number.
    return f"p{keys.secret(f'nats {user}')}"


def _service(
    folder: Path, member: Member, keys: Keys, server: str, secret: str, shared: dict[str, str]
) -> None:
    urls = urls_of(server, member.domain, secret)
    secrets = {
        "database-url": urls.app,
        "relay-database-url": urls.relay,
        "nats-password": _password(keys, member.domain),
        "page-token-key": keys.secret(f"page tokens of {member.domain}"),
    }
    _part(folder, keys, member.domain, secrets, shared)


def _part(folder: Path, keys: Keys, name: str, secrets: dict[str, str], shared: dict[str, str]) -> None:
    for key, value in secrets.items():
        _write(folder / key, value)
    _write(folder / "token-key.pem", keys.private(name).read_text())
    _write(folder / "jwks.json", keys.jwks.read_text())
    told = {**shared, "KEHU_NATS_USER": name}
    told |= {f"KEHU_{key.upper().replace('-', '_')}": value for key, value in secrets.items()}
    _write(folder / "env", "".join(f"{key}='{value}'\n" for key, value in told.items()))


def _broker(folder: Path, keys: Keys, erp_tenants: Sequence[str]) -> None:
    users: list[User] = [admin(_password(keys, ADMIN)), gateway_user(_password(keys, GATEWAY))]
    users += [service_user(member, _password(keys, member.domain)) for member in MEMBERS]
    users += [erp_user(tenant, _password(keys, erp_name(tenant))) for tenant in erp_tenants]
    for user in users:
        _write(folder / f"NATS_{user.name.upper().replace('-', '_')}_PASSWORD", user.password)
    config = configuration(4222, 8222, Path("/data"), Path("/data/nats.pid"), users, host="0.0.0.0")
    _write(folder / "nats.conf", config)


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o444)  # read by the parts, whose accounts are not ours; the folder above is closed to others
