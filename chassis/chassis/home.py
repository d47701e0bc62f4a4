"""The country of a tenant, by whose rules telephone numbers without a country code are read; and in what it counts.

Identity tells it. A service that keeps numbers hears it in a few lines::

    hear_home_country(SUBSCRIPTIONS)                      # in listens.py; install_home_country() in a migration
    country = await home_country(tx)                      # in the use cases

In what it counts is asked of identity where a file is read, which nobody waits for a second.
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from kehu.identity.v1 import events_pb2 as identity
from kehu.identity.v1 import tenant_pb2, tenant_service_pb2
from sqlalchemy import text

from chassis.database import Database, Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.principal import Principal
from chassis.rpc.call import Call

DEFAULT_COUNTRY = "CN"
_GET_TENANT = "kehu.identity.v1.TenantService/GetTenant"
_HOME = text("SELECT country_code FROM tenant_countries")
_KEEP = text(
    "INSERT INTO tenant_countries AS t (tenant_id, country_code, version, event_id)"
    " VALUES (:tenant, :country, :version, :event)"
    " ON CONFLICT (tenant_id) DO UPDATE SET country_code = excluded.country_code, version = excluded.version,"
    " event_id = excluded.event_id WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id)"
)
_KNOWN_FOR = 60.0
_countries: WeakKeyDictionary[Database, dict[UUID, tuple[float, str]]] = WeakKeyDictionary()
"""What this process knows of tenants' countries, and until when."""


@dataclass(frozen=True, slots=True)
class Measures:
    """In what a company counts: its time zone, and the currency that it offers first."""

    time_zone: str = "Asia/Shanghai"
    currency: str = "CNY"


async def measures_of(call: Call) -> Measures:
    """Those of the caller's company; the defaults where no identity is installed. Raises Unavailable: what is guessed here
    would be read wrong for good."""
    if not call.clients.installed("identity"):
        return Measures()
    tenant = await call.ask(_GET_TENANT, tenant_service_pb2.GetTenantRequest(), tenant_pb2.Tenant)
    first = Measures()
    return Measures(tenant.time_zone or first.time_zone, tenant.currency_code or first.currency)


async def home_country(tx: Transaction) -> str:
    """The country by whose rules numbers without a country code are read. A process remembers it for a minute: a company moves
    less often than it writes numbers."""
    known = _countries.setdefault(tx.database, {})
    until, country = known.get(tx.who.tenant_id, (0.0, DEFAULT_COUNTRY))
    if until < time.monotonic():
        country = (await tx.session.execute(_HOME)).scalar_one_or_none() or DEFAULT_COUNTRY
        known[tx.who.tenant_id] = time.monotonic() + _KNOWN_FOR, country
    return country


async def home_country_of(database: Database, who: Principal) -> str:
    """The same for reading."""
    rows = await database.read(who, "SELECT country_code FROM tenant_countries")
    return rows[0]["country_code"] if rows and rows[0]["country_code"] else DEFAULT_COUNTRY


def dialled_at_home(number: str) -> bool:
    """Whether a number is written as it is dialled within the country."""
    return bool(number) and not number.lstrip().startswith(("+", "＋", "00"))


async def keep_home_country(tx: Transaction, country: str, version: int, event_id: Any) -> None:
    """What identity says of the tenant's country, unless a newer event has spoken."""
    told = {"tenant": tx.who.tenant_id, "country": country, "version": version, "event": event_id}
    await tx.session.execute(_KEEP, told)
    known = _countries.get(tx.database)
    if known is not None:
        tx.after_commit.append(partial(_forget, known, tx.who.tenant_id))


def _forget(known: dict[UUID, tuple[float, str]], tenant_id: UUID) -> None:
    known.pop(tenant_id, None)


def hear_home_country(subscriptions: Subscriptions) -> None:
    """Lets a service know what identity tells of the tenant's country."""

    async def told(event: Any, tx: Transaction, envelope: Envelope) -> None:
        await keep_home_country(tx, event.country_code, envelope.version, envelope.event_id)

    for said in (identity.TenantCreated, identity.TenantUpdated):
        subscriptions.on(said, when=lambda event: bool(event.country_code))(told)
