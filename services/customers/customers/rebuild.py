"""`python -m customers rebuild-touches [--keep]`: when customers were last contacted, bought and were served, and are to be
contacted next, anew from the events that the streams hold.

See `chassis.events.rebuild`. Whatever else is derived from these events bears being told of them again.
"""

import sys
from typing import Any

from chassis.events.rebuild import StreamsIncomplete, begin_anew, read_all

_TIMES = ("last_contact_time", "next_contact_time", "last_deal_time", "last_service_time")


async def rebuild_touches(running: Any, arguments: list[str]) -> None:
    """The command. Exits with a message when it cannot be done."""
    if arguments not in ([], ["--keep"]):
        sys.exit("rebuild-touches takes nothing but --keep")
    if not running.settings.owner_database_url.get_secret_value():
        sys.exit("rebuild-touches empties a table: it needs KEHU_OWNER_DATABASE_URL, as migrate does")
    keep = bool(arguments)
    try:
        await begin_anew(
            running.settings, running.service.name, running.service.subscriptions.domains, ("customer_activities",),
            columns={} if keep else {"customers": _TIMES}, keep=keep,
        )  # fmt: skip
    except StreamsIncomplete as problem:
        sys.exit(str(problem))
    await read_all(running)
    print("the times are rebuilt")
