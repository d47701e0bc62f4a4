"""What a service is told by its environment. Every variable starts with `KEHU_`."""

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Addresses, secrets and limits of one running service.

    Raises pydantic's ValidationError at start-up when something that is needed is missing.
    """

    model_config = SettingsConfigDict(env_prefix="KEHU_", extra="ignore", frozen=True)

    listen: str = "127.0.0.1:0"
    """host:port of the gRPC face; port 0 takes a free one."""

    database_url: SecretStr = SecretStr("")
    """The service's database as the role that row-level security binds."""
    relay_database_url: SecretStr = SecretStr("")
    """The same database as the role that sees outbox, jobs and dead letters of all tenants, and nothing else."""
    owner_database_url: SecretStr = SecretStr("")
    """The same database as the role that owns the tables. Only `migrate` needs it."""

    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password: SecretStr = SecretStr("")
    nats_replicas: int = 1
    nats_require_flush: bool = True
    """Refuse to start when a single broker does not flush each message to disk before it acknowledges it."""
    nats_monitor_url: str = ""
    """The broker's monitoring address, asked for its flush setting at start-up; empty leaves the question to the operator."""

    token_keys: Path = Path("var/keys/jwks.json")
    """JWKS file with the public keys of everyone who may sign tokens; the key id is the issuer's name."""
    token_key: Path | None = None
    """PEM file with this service's own private key, for those that sign tokens."""
    page_token_key: SecretStr = SecretStr("")
    """Secret that signs page tokens. The same for all replicas of a service."""

    pool_size: int = Field(default=6, ge=1, le=100)
    """Connections for transactions; the same number again at the most for plain reads."""
    acquire_timeout: float = 1.5
    """Seconds to wait for a connection before the call is answered UNAVAILABLE; a checkpoint may hold commits up for a second."""
    max_concurrent_calls: int = Field(default=200, ge=1)
    """Calls in work at once; the next is answered RESOURCE_EXHAUSTED at once."""
    drain_seconds: float = 0.0
    """Seconds between 'not serving' and the end of the listening, so that balancers notice. About 5 on Kubernetes."""
    max_message_bytes: int = 32 * 1024 * 1024
    job_lease_seconds: float = Field(default=30.0, ge=1)
    """How long a job stays with a process that says no more of it; a living one speaks three times as often."""
    event_lease_seconds: float = Field(default=20.0, ge=1)
    """Seconds after which the broker delivers again what a dead process had taken; longer than any batch of events takes."""
    outbox_retention_days: int = 14
    """How long sent events are kept for publishing again; the inbox keeps its marks as long and a week more."""
    answer_retention_days: int = 7
    """How long answers are kept for repeats of their requests."""
    files_url: str = "var/files"
    """Where files on records are kept: a folder, or `s3://bucket/prefix`. The same for all services and replicas."""
    max_file_bytes: int = Field(default=50 * 1024 * 1024, ge=1, le=10 * 1024**3)
    """Bytes of a file on a record; the gateway is told the same."""
    allowed_file_types: str = ""
    """Endings of names (`.pdf`) and content types (`image/png`, `image/*`), joined by commas: no others are taken. Empty means
    all that are not forbidden."""
    forbidden_file_types: str = (
        ".exe,.dll,.com,.scr,.pif,.msi,.msp,.bat,.cmd,.ps1,.psm1,.vbs,.vbe,.jse,.wsf,.wsh,.hta,.cpl,.lnk,.reg,.jar,.apk,.iso,.img,"
        "application/x-msdownload,application/x-executable,application/x-mach-binary,application/java-vm"
    )
    """The same for what is not taken, whatever is allowed."""
    secret_keys: SecretStr = SecretStr("")
    """Keys, separated by commas, that seal secrets of others (`chassis.sealed`); the first seals, all open. The same for all
    replicas of a service. Without one, such secrets cannot be kept."""
    egress_networks: str = ""
    """Networks that are not the open internet and may be reached all the same at addresses that users write, separated by commas,
    as `10.1.0.0/16`."""
    erasure_pause_seconds: float = Field(default=60.0, ge=0)
    """Seconds between the two rounds of an erasure: what services had told each other before has arrived by then."""
    default_region: str = "CN"
    """Region of phone numbers that are written without a country code (ISO 3166)."""

    log_level: str = "INFO"

    def address(self, domain: str) -> str | None:
        """Where the named domain's service listens (`KEHU_ADDRESS_SALES`), or None when it is not installed."""
        return os.environ.get(f"KEHU_ADDRESS_{domain.upper()}") or self.addresses.get(domain)

    addresses: dict[str, str] = Field(default_factory=dict[str, str])
    """Addresses given by code, for several services in one process. The environment wins."""
