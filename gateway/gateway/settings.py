"""What the gateway is told by its environment. Every variable starts with `KEHU_`."""

import os
from ipaddress import ip_network
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Addresses, keys and limits of one gateway.

    Raises pydantic's ValidationError at start-up when a value cannot be understood.
    """

    model_config = SettingsConfigDict(env_prefix="KEHU_", extra="ignore", frozen=True)

    listen: str = "127.0.0.1:8080"
    """host:port of the HTTP face; port 0 takes a free one."""
    hosts: str = ""
    """Names this gateway answers to, joined by commas, ports left out. Empty means localhost and the
    address it listens on; `*` means any, for use behind a proxy that checks.
    """
    public_url: str = ""
    """Scheme and host under which browsers reach the gateway, when a proxy stands before it."""
    trusted_proxies: str = ""
    """Networks (CIDR, joined by commas) whose X-Forwarded-For and X-Forwarded-Proto are believed."""

    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password: SecretStr = SecretStr("")
    token_keys: Path = Path("var/keys/jwks.json")
    """JWKS file with the public keys of everyone who may sign tokens."""
    token_key: Path | None = None
    """PEM file with the gateway's own private key."""

    rate_per_second: float = Field(default=2000.0, gt=0)
    """Requests a second of one signed-in person or key; twice as many at once."""
    door_rate_per_minute: float = Field(default=120.0, gt=0)
    """Sign-ins and posted public forms a minute of one address."""
    max_concurrent_requests: int = Field(default=256, ge=1)
    """Requests inside at once, waiting or served. One tenant may hold as many as are free, so alone half of them; its next
    is answered 503 at once.
    """
    seats: int = Field(default=16, ge=1)
    """Requests each service works for at once, shared in the same way; the others wait for their turn. A gateway with many
    replicas behind it wants more.
    """
    max_streams: int = Field(default=1000, ge=0)
    """Live streams open at once."""
    max_file_bytes: int = Field(default=50 * 1024 * 1024, ge=1, le=10 * 1024**3)
    """Bytes of a file on a record; the services are told the same."""
    facet_deadline: float = Field(default=1.0, gt=0)
    """Seconds a section of the 360° view may take before it is left out."""
    drain_seconds: float = Field(default=0.0, ge=0)
    """Seconds between 'not ready' and the end of the listening, so that balancers notice."""
    access_log: bool = True
    log_level: str = "INFO"

    addresses: dict[str, str] = Field(default_factory=dict[str, str])
    """Domain → host:port, given by code. The environment (`KEHU_ADDRESS_SALES`) wins."""

    def backends(self, domains: set[str]) -> dict[str, str]:
        """Domain → address of the installed services among `domains`."""
        found: dict[str, str] = {}
        for domain in domains:
            address = os.environ.get(f"KEHU_ADDRESS_{domain.upper()}") or self.addresses.get(domain)
            if address:
                found[domain] = address
        return found

    def host_names(self) -> frozenset[str] | None:
        """The host names that are answered to, in lower case; None for any."""
        if self.hosts.strip() == "*":
            return None
        names = {name.strip().lower() for name in self.hosts.split(",") if name.strip()}
        if not names:
            names = {"localhost", "127.0.0.1", "[::1]", self.listen.rpartition(":")[0].lower()}
        return frozenset(names)

    def proxies(self) -> "Proxies":
        """The proxies that are believed. Raises ValueError for what is no network."""
        return Proxies(tuple(ip_network(n.strip()) for n in self.trusted_proxies.split(",") if n.strip()))


class Proxies:
    """Whose word about the client's address and scheme is taken."""

    def __init__(self, networks: tuple[object, ...]) -> None:
        self._networks = networks
        self.any = bool(networks)

    def trusts(self, address: str) -> bool:
        """Whether a proxy at that address is one of ours."""
        from ipaddress import IPv4Network, IPv6Network, ip_address

        try:
            ip = ip_address(address)
        except ValueError:
            return False
        return any(isinstance(n, IPv4Network | IPv6Network) and ip in n for n in self._networks)
