"""What an operator can say to any service: `python -m leads serve | migrate | dead-letters … | republish SINCE`."""

import argparse
import json
import sys
from typing import Any
from uuid import UUID

import uvloop

from chassis.events import dead_letters, relay
from chassis.service import Running, Service, serve
from chassis.settings import Settings


def run(service: Service) -> None:
    """Parses the command line and does what it says."""
    parser = argparse.ArgumentParser(prog=f"python -m {service.migrations.parent.name}")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="run the service (the default)")
    newest = commands.add_parser("migrate", help="bring the database to the newest version, as its owner")
    newest.add_argument(
        "--sql", action="store_true", help="only print the SQL of all versions, and ask no database"
    )
    letters = commands.add_parser("dead-letters", help="events that could not take effect")
    letters.add_argument("action", choices=["list", "replay", "discard"])
    letters.add_argument("id", nargs="?", type=UUID)
    again = commands.add_parser("republish", help="send events again that were sent since a time")
    again.add_argument("since", help="ISO 8601, with the time zone")
    for name in service.commands:
        commands.add_parser(name, add_help=False)
    said, rest = parser.parse_known_args()
    if rest and said.command not in service.commands:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    settings = Settings()
    match said.command:
        case None | "serve":
            uvloop.run(serve(service, settings))
        case "migrate":
            # Alembic is a fifth of what a service imports, and serving needs none of it.
            from chassis.migrations import migrate, rendered

            if said.sql:
                print("\n".join(rendered(service.migrations, f"kehu_{service.name}_owner").values()))
                return
            migrate(settings.owner_database_url.get_secret_value(), service.migrations)
        case "dead-letters":
            uvloop.run(_letters(service, settings, said.action, said.id))
        case "republish":
            print(f"{uvloop.run(relay.republish(settings, said.since))} events will be sent again")
        case name:
            uvloop.run(_own(service, settings, name, rest))


async def _own(service: Service, settings: Settings, name: str, arguments: list[str]) -> None:
    running = Running(service, settings)
    try:
        await service.commands[name](running, arguments)
    finally:
        await running.clients.close()
        await running.database.close()


async def _letters(service: Service, settings: Settings, action: str, id: UUID | None) -> None:
    if action == "list":
        for letter in await dead_letters.listed(settings):
            print(json.dumps(letter, default=str, ensure_ascii=False))
        return
    if id is None:
        sys.exit("say which: the id that 'list' shows")
    if action == "discard":
        print("discarded" if await dead_letters.discard(settings, id) else "there is no such dead letter")
        return
    running: Any = Running(service, settings)
    done = await dead_letters.replay(settings, running.database, service.name, service.subscriptions, id)
    print("took effect" if done else "had taken effect before")
    await running.database.close()
