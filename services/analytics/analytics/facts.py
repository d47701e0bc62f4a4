"""Facts: one row for each record of other services, kept from the snapshot in the record's newest event.

Which event is the newest is said by the record's version in the envelope and, between events of one change, by the event's id:
ids that are made later sort later. So events may come late, twice or in any order, and the facts end up the same. A deleted
record keeps its row, marked, so that a late event does not bring it back.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import TextClause, text

from chassis.database import Transaction
from chassis.events.event import Envelope


class Fact:
    """A table of facts: the record's key, version and deletion, and the columns named here.

    Columns in `json` take a text of JSON.
    """

    def __init__(self, table: str, *columns: str, json: tuple[str, ...] = ()) -> None:
        self.table = table
        self.columns = frozenset(columns) | frozenset(json)
        self._statement = _upsert(table, columns, json)

    async def keep(
        self, tx: Transaction, envelope: Envelope, values: Mapping[str, object], *, deleted: bool
    ) -> bool:
        """Lets the row say what this event says, unless a newer one has spoken. True when it does now.

        `values` has every column. Raises KeyError for one that is missing.
        """
        row = {name: values[name] for name in self.columns}
        done = await tx.session.execute(
            self._statement,
            {
                **row, "tenant_id": envelope.tenant_id, "id": envelope.record_id, "version": envelope.version,
                "event_id": envelope.event_id, "deleted": deleted,
            },
        )  # fmt: skip
        return done.first() is not None


def _upsert(table: str, columns: tuple[str, ...], json: tuple[str, ...]) -> TextClause:
    names = ["version", "event_id", "deleted", *columns, *json]
    places = [f"CAST(:{name} AS jsonb)" if name in json else f":{name}" for name in names]
    return text(
        f"INSERT INTO {table} AS t (tenant_id, id, {', '.join(names)})"  # noqa: S608 (names declared below)
        f" VALUES (:tenant_id, :id, {', '.join(places)})"
        f" ON CONFLICT (tenant_id, id) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in names)}"
        " WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id) RETURNING t.id"
    )


LEADS = Fact(
    "leads",
    "owner_id",
    "team_id",
    "source",
    "campaign_id",
    "status",
    "captured_at",
    "contacted",
    "qualified",
    "utm_source",
    "utm_medium",
    "utm_campaign",
)
OPPORTUNITIES = Fact(
    "opportunities", "owner_id", "team_id", "product_id", "amount", "currency", "stage_id", "stage_name", "stage_position",
    "probability", "status", "engage_date", "close_date", "origin_lead_id",
)  # fmt: skip
ORDERS = Fact(
    "orders", "owner_id", "team_id", "customer_id", "order_date", "status", "currency", "subtotal", "total", json=("lines",)
)  # fmt: skip
TICKETS = Fact(
    "tickets", "owner_id", "team_id", "status", "priority", "opened_at", "responded_at", "ended_at"
)
PRODUCTS = Fact("products", "name", "sku")
PIPELINES = Fact("pipelines", json=("stages",))
PEOPLE = Fact("people", "name", "team_id")
TEAMS = Fact("teams", "name")
TENANTS = Fact("tenants", "time_zone")

FACTS = (LEADS, OPPORTUNITIES, ORDERS, TICKETS, PRODUCTS, PIPELINES, PEOPLE, TEAMS, TENANTS)

_COUNTED = text(
    "INSERT INTO freshness AS t (tenant_id, domain, last_event_at) VALUES (:tenant, :domain, :at)"
    " ON CONFLICT (tenant_id, domain) DO UPDATE SET last_event_at = excluded.last_event_at"
    " WHERE t.last_event_at < excluded.last_event_at"
)


async def mark_counted(tx: Transaction, domain: str, at: datetime) -> None:
    """Notes that an event of that domain, which happened at that time, is counted in."""
    await tx.session.execute(_COUNTED, {"tenant": tx.who.tenant_id, "domain": domain, "at": at})
