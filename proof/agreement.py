"""Whether services agree: what one says of another's record is what the other has."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kehu_local.suite import Suite
from proof import found


@dataclass(frozen=True)
class Link:
    """A column of one service that holds ids of another's records."""

    domain: str
    table: str
    column: str
    to_domain: str
    to_table: str

    @property
    def name(self) -> str:
        """How it is spoken of."""
        return f"{self.domain}.{self.table}.{self.column}"


LINKS = (
    Link("leads", "leads", "customer_id", "customers", "customers"),
    Link("leads", "leads", "contact_id", "customers", "contacts"),
    Link("leads", "leads", "opportunity_id", "sales", "opportunities"),
    Link("customers", "customers", "origin_lead_id", "leads", "leads"),
    Link("customers", "contacts", "origin_lead_id", "leads", "leads"),
    Link("sales", "opportunities", "origin_lead_id", "leads", "leads"),
    Link("sales", "opportunities", "customer_id", "customers", "customers"),
    Link("sales", "opportunities", "contact_id", "customers", "contacts"),
    Link("sales", "orders", "customer_id", "customers", "customers"),
    Link("servicedesk", "tickets", "customer_id", "customers", "customers"),
    Link("servicedesk", "tickets", "order_id", "sales", "orders"),
    Link("marketing", "campaign_members", "lead_id", "leads", "leads"),
    Link("marketing", "campaign_members", "customer_id", "customers", "customers"),
)
"""Deleted records keep their rows, so that every link leads somewhere."""


@dataclass(frozen=True)
class Copy:
    """What a service keeps of another's records, and the same of the records themselves; both begin with the id."""

    name: str
    domain: str
    kept: str
    of_domain: str
    real: str


COPIES = (
    Copy(
        "orders in reports", "analytics",
        "SELECT id, deleted, status, currency, subtotal, total, order_date, customer_id FROM orders WHERE tenant_id = $1",
        "sales",
        "SELECT id, deleted_at IS NOT NULL AS deleted,"
        " 'ORDER_STATUS_' || status AS status, currency_code, subtotal, total, order_date, customer_id"
        " FROM orders WHERE tenant_id = $1",
    ),
    Copy(
        "opportunities in reports", "analytics",
        "SELECT id, deleted, status, amount, currency, stage_name, close_date FROM opportunities WHERE tenant_id = $1",
        "sales",
        "SELECT id, deleted_at IS NOT NULL AS deleted,"
        " 'OPPORTUNITY_STATUS_' || status AS status, amount, amount_currency, stage_name, close_date"
        " FROM opportunities WHERE tenant_id = $1",
    ),
    Copy(
        "leads in reports", "analytics", "SELECT id, deleted, status FROM leads WHERE tenant_id = $1",
        "leads",
        "SELECT id, deleted_at IS NOT NULL AS deleted,"
        " 'LEAD_STATUS_' || status AS status FROM leads WHERE tenant_id = $1",
    ),
    Copy(
        "tickets in reports", "analytics", "SELECT id, deleted, status, priority FROM tickets WHERE tenant_id = $1",
        "servicedesk",
        "SELECT id, deleted_at IS NOT NULL AS deleted,"
        " 'TICKET_STATUS_' || status AS status, 'TICKET_PRIORITY_' || priority AS priority FROM tickets"
        " WHERE tenant_id = $1",
    ),
    Copy(
        "products in reports", "analytics", "SELECT id, deleted, name, sku FROM products WHERE tenant_id = $1",
        "sales", "SELECT id, deleted_at IS NOT NULL AS deleted, name, sku FROM products WHERE tenant_id = $1",
    ),
    Copy(
        "teams in reports", "analytics", "SELECT id, deleted, name FROM teams WHERE tenant_id = $1",
        "identity", "SELECT id, deleted_at IS NOT NULL AS deleted, name FROM teams WHERE tenant_id = $1",
    ),
    Copy(
        "last deals of customers", "customers",
        "SELECT id, last_deal_time FROM customers WHERE tenant_id = $1 AND last_deal_time IS NOT NULL",
        "sales",
        "SELECT customer_id, max(place_time) AS last FROM orders WHERE tenant_id = $1 AND place_time IS NOT NULL GROUP BY 1",
    ),
)  # fmt: skip

_TOTALS = "SELECT currency, sum(total) AS total FROM orders WHERE tenant_id = $1 AND NOT deleted GROUP BY 1 ORDER BY 1"


def link_faults(name: str, links: Iterable[tuple[str, str]], there: Collection[str]) -> list[str]:
    """Links that lead nowhere. `links` are pairs of the one who names and the one who is named."""
    return [
        f"{name} of {id} names {target}, which is not there" for id, target in links if target not in there
    ]


def copy_faults(name: str, kept: Mapping[str, Any], real: Mapping[str, Any]) -> list[str]:
    """What is kept of records that are not there, is not kept, or is not what they are."""
    faults = [f"{name}: {id} is kept and is not there" for id in sorted(kept.keys() - real.keys())]
    faults += [f"{name}: {id} is there and is not kept" for id in sorted(real.keys() - kept.keys())]
    return faults + [
        f"{name}: {id} is kept as {kept[id]} and is {real[id]}"
        for id in sorted(kept.keys() & real.keys())
        if kept[id] != real[id]
    ]


def disagreements(suite: Suite, tenant_id: str) -> list[str]:
    """What services say of each other's records that is not so. Read when everything is at rest."""
    faults: list[str] = []
    for link in LINKS:
        sql = f"SELECT id, {link.column} AS target FROM {link.table} WHERE tenant_id = $1 AND {link.column} IS NOT NULL"
        pairs = [
            (str(row["id"]), str(row["target"])) for row in found.rows(suite, link.domain, sql, tenant_id)
        ]
        sql = f"SELECT id FROM {link.to_table} WHERE tenant_id = $1"
        there = {str(row["id"]) for row in found.rows(suite, link.to_domain, sql, tenant_id)}
        faults += link_faults(link.name, pairs, there)
    for copy in COPIES:
        kept = _by_id(suite, copy.domain, copy.kept, tenant_id)
        faults += copy_faults(copy.name, kept, _by_id(suite, copy.of_domain, copy.real, tenant_id))
    return faults


def _by_id(suite: Suite, domain: str, sql: str, tenant_id: str) -> dict[str, tuple[Any, ...]]:
    rows = [tuple(row.values()) for row in found.rows(suite, domain, sql, tenant_id)]
    return {str(id): tuple(rest) for id, *rest in rows}


def worth(suite: Suite, tenant_id: str) -> str:
    """What the reports say all orders are worth, in whole minor units, by currency."""
    rows = found.rows(suite, "analytics", _TOTALS, tenant_id)
    return ", ".join(f"{row['currency']} {row['total']:,}" for row in rows)
