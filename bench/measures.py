"""What is measured of a suite: reads, writes, imports."""

from typing import Any
from uuid import UUID

from bench import data
from bench.client import Connection
from bench.measure import Figure, Measures


def _any(ids: list[Any], number: int) -> Any:
    return ids[number * 7919 % len(ids)]


async def reads(measures: Measures, ids: list[UUID], full: list[UUID]) -> None:
    """One, fifty, and all that is known of a full customer."""
    floor = measures.stand.floor
    await measures.compare(
        "get one customer",
        lambda http, n: http.get(f"/v1/customers/{_any(ids, n)}"),
        lambda n: floor.get(_any(ids, n)),
        5,
    )
    await measures.compare(
        "list 50 by name",
        lambda http, n: http.get("/v1/customers?pageSize=50&orderBy=displayName"),
        lambda n: floor.list(),
    )
    await measures.compare(
        "360° of a full customer",
        lambda http, n: http.get(f"/v1/customers/{_any(full, n)}:view360"),
        lambda n: floor.view(_any(full, n)),
        6,
    )


async def writes(measures: Measures, leads: list[UUID]) -> None:
    """A lead is created; leads are converted, each once."""
    floor, waiting = measures.stand.floor, iter(leads)

    async def create(http: Connection, number: int) -> str:
        body = {"name": f"李明 {number}", "companyName": data.company(number), "phone": f"137{number:08d}"}
        return (await http.post("/v1/leads", body))["id"]

    async def convert(http: Connection, number: int) -> dict[str, Any]:
        made = await http.post(f"/v1/leads/{next(waiting)}:convert", {})
        assert made["state"] == "CONVERSION_STATE_SUCCEEDED", made
        return made

    lead = UUID(await create(measures.stand.pool[0], 0))
    of_lead = [
        ("leads", "id = $1", lead),
        ("history", "record_id = $1", lead),
        ("outbox", "record_id = $1", lead),
    ]
    await floor.learn("create", "leads", of_lead)
    await measures.compare("create lead", create, lambda n: floor.write("leads", "create"))

    made = await convert(measures.stand.pool[0], 0)
    lead, kept = UUID(made["leadId"]), [("history", "record_id = $1"), ("outbox", "record_id = $1")]
    await floor.learn(
        "begin", "leads", [("leads", "id = $1", lead), ("history", "record_id = $1 AND version = 2", lead)]
    )
    for step, table in (("customerId", "customers"), ("contactId", "contacts")):
        id = UUID(made[step])
        await floor.learn(
            table, "customers", [(table, "id = $1", id), *((name, where, id) for name, where in kept)]
        )
    await floor.learn(
        "end", "leads", [("leads", "id = $1", lead), *((name, where, lead) for name, where in kept)]
    )

    async def by_hand(number: int) -> None:
        await floor.write("leads", "begin")
        await floor.write("customers", "customers")
        await floor.write("customers", "contacts")
        await floor.write("leads", "end")

    await measures.compare("convert lead", convert, by_hand)


async def imports(measures: Measures, rows: int) -> None:
    """An import of leads beside the COPY of the rows it has made: of the leads alone, and of all it writes."""
    floor = measures.stand.floor
    for _ in range(max(1, measures.rounds - 1)):
        await measures.stand.at_rest()
        measures.stand.sign_in()
        took = await data.load(measures.stand.pool[0], "lead", data.leads_file(rows))
        await (
            measures.stand.at_rest()
        )  # the floor has the machine to itself, as the import had it at its start
        bare = await floor.copy("leads", "leads", rows)
        whole = bare + await floor.copy("leads", "history", rows) + await floor.copy("leads", "outbox", rows)
        per = 1000 / rows
        for name, seconds in (("COPY of leads", bare), ("COPY with history, events", whole)):
            figure = Figure(
                f"import, {name}", 1, rows / took, took * per, took * per, seconds * per, took / seconds, 5
            )
            measures.show(figure)
