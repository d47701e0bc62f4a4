"""Opportunities that other records name."""

from typing import Any

from chassis.ids import parse_id
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import visible_text
from sales.errors import opportunity_not_found


async def opportunity_seen(call: Call, id: str, field: str) -> Any:
    """The opportunity's customer, `customer_id` and `customer_name`. Raises Invalid (OPPORTUNITY_NOT_FOUND) when there is none
    that the caller may read."""
    rule, values = visible_text(call.who, "opportunities", Act.READ, "owner_id", "team_id", first=2)
    rows = await call.database.read(
        call.who,
        "SELECT t.customer_id, t.customer_name FROM opportunities t WHERE t.id = $1 AND t.deleted_at IS NULL AND "  # noqa: S608 (the rule of visibility has places for its values)
        + rule,
        parse_id(id, field),
        *values,
    )
    if not rows:
        raise opportunity_not_found(field)
    return rows[0]
