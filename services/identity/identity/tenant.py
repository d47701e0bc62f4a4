"""Tenants: the companies of an installation. The row of a tenant is visible in that tenant only; short names are looked up by
the relay role, which sees nothing else of them."""

import time
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from chassis.database import Transaction, read_across
from chassis.errors import NotFound
from chassis.events.event import Event
from chassis.principal import NOBODY, Principal
from chassis.records import Record


class Tenant(Record, table=True):
    """One company. `tenant_id` equals `id`."""

    __tablename__ = "tenants"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "tenant"

    name: str
    slug: str
    currency_code: str = "CNY"
    time_zone: str = "Asia/Shanghai"
    language_code: str = "zh-CN"
    country_code: str = "CN"


@dataclass(frozen=True, kw_only=True)
class TenantCreated(Event):
    tenant_id: UUID
    name: str
    slug: str
    currency_code: str
    time_zone: str
    language_code: str
    country_code: str


@dataclass(frozen=True, kw_only=True)
class TenantUpdated(Event):
    tenant_id: UUID
    name: str
    slug: str
    currency_code: str
    time_zone: str
    language_code: str
    country_code: str


def described(tenant: Tenant) -> dict[str, Any]:
    """What the events say of a tenant."""
    return {
        "tenant_id": tenant.id, "name": tenant.name, "slug": tenant.slug, "currency_code": tenant.currency_code,
        "time_zone": tenant.time_zone, "language_code": tenant.language_code,
        "country_code": tenant.country_code,
    }  # fmt: skip


async def own_tenant(tx: Transaction) -> Tenant:
    """The caller's tenant, locked. Raises NotFound."""
    tenant = await tx.find(Tenant, tx.who.tenant_id)
    if tenant is None:
        raise NotFound("tenant", tx.who.tenant)
    return tenant


_REMEMBERED = 30.0
_known: dict[tuple[str, str], tuple[float, UUID]] = {}


async def find_tenant(relay_url: str, slug: str) -> tuple[UUID, str] | None:
    """`(id, slug)` of the tenant with that short name; with an empty one, of the only tenant there is. None when unknown.

    Found names are remembered for half a minute; slugs never change. Raises Unavailable.
    """
    key = (relay_url, slug)
    if slug and key in _known and _known[key][0] > time.monotonic():
        return _known[key][1], slug
    rows = (
        await read_across(relay_url, "SELECT id, slug FROM tenants WHERE slug = $1", slug)
        if slug
        else await read_across(relay_url, "SELECT id, slug FROM tenants LIMIT 2")
    )
    if len(rows) != 1:
        return None
    _known[(relay_url, rows[0]["slug"])] = (time.monotonic() + _REMEMBERED, rows[0]["id"])
    return rows[0]["id"], rows[0]["slug"]


def keeper(tenant_id: UUID, slug: str) -> Principal:
    """Identity acting by itself in that tenant, before anybody is signed in."""
    return Principal(tenant_id=tenant_id, tenant=slug, person_id=NOBODY, service="identity")
