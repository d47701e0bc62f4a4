"""`python -m customers rebuild-values [--keep]`: what customers are worth and partners owe, by the events of the streams.

See `chassis.events.rebuild`. Touch times only move forward and orders earn points once, so being told all of it again changes
neither. Scores and months follow with the next review.
"""

import sys
from typing import Any

from chassis.events.rebuild import StreamsIncomplete, begin_anew, read_all
from customers.value.arrears import derive_all

_FACTS = ("customer_orders", "customer_opportunities", "customer_ratings", "main_currencies")
_DERIVED = ("customer_values", "customer_amounts", "customer_value_months", "value_reviews")


async def rebuild_values(running: Any, arguments: list[str]) -> None:
    """The command. Exits with a message when it cannot be done."""
    if arguments not in ([], ["--keep"]):
        sys.exit("rebuild-values takes nothing but --keep")
    if not running.settings.owner_database_url.get_secret_value():
        sys.exit("rebuild-values empties tables: it needs KEHU_OWNER_DATABASE_URL, as migrate does")
    keep = bool(arguments)
    try:
        # Kept facts keep what was derived from them.
        await begin_anew(
            running.settings, running.service.name, running.service.subscriptions.domains, _FACTS,
            others=() if keep else _DERIVED, keep=keep,
        )  # fmt: skip
    except StreamsIncomplete as problem:
        sys.exit(str(problem))
    await read_all(running)
    # Also of those whose orders nobody has told again.
    await derive_all(running.settings.owner_database_url.get_secret_value())
    print("the values are rebuilt; scores and months follow within minutes")
