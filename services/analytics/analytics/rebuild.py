"""`python -m analytics rebuild [--keep]`: the facts anew, from the events that the streams hold, see `chassis.events.rebuild`."""

import sys

from analytics.facts import FACTS
from analytics.listens import SUBSCRIPTIONS
from chassis.events import rebuild as events
from chassis.events.rebuild import StreamsIncomplete, read_all
from chassis.service import Running
from chassis.settings import Settings

__all__ = ["StreamsIncomplete", "begin_anew", "read_all", "rebuild"]


async def rebuild(running: Running, arguments: list[str]) -> None:
    """The command. Exits with a message when it cannot be done."""
    if arguments not in ([], ["--keep"]):
        sys.exit("rebuild takes nothing but --keep")
    if not running.settings.owner_database_url.get_secret_value():
        sys.exit("rebuild empties tables: it needs KEHU_OWNER_DATABASE_URL, as migrate does")
    try:
        await begin_anew(running.settings, running.service.name, keep=bool(arguments))
    except StreamsIncomplete as problem:
        sys.exit(str(problem))
    await read_all(running)
    print("the facts are rebuilt")


async def begin_anew(settings: Settings, service: str, *, keep: bool = False) -> None:
    """Empties the facts, or with `keep` lets any event overwrite them, and has the bus tell everything again.

    Raises StreamsIncomplete, having changed nothing.
    """
    tables = [fact.table for fact in FACTS]
    await events.begin_anew(settings, service, SUBSCRIPTIONS.domains, tables, others=["freshness"], keep=keep)
