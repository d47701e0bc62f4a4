"""A server that ends cancels calls that reach it in the moment between. Nobody has cancelled them who waits for the answer."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from kehu.leads.v1 import lead_pb2, lead_service_pb2

from chassis.errors import Code, Problem
from chassis.rpc.clients import Clients, ask
from chassis.settings import Settings

PATH = "/kehu.leads.v1.LeadService/GetLead"


@asynccontextmanager
async def ending(times: int) -> AsyncGenerator[Clients]:
    """Clients of a server that cancels that many calls before it answers."""
    left = times

    async def behave(request: bytes, context: Any) -> bytes:
        nonlocal left
        left -= 1
        if left >= 0:
            await context.abort(grpc.StatusCode.CANCELLED)
        return lead_pb2.Lead(name="Li Lei").SerializeToString()

    rpc: Any = grpc
    server = grpc.aio.server()
    service, _, name = PATH[1:].partition("/")
    handlers = {name: rpc.unary_unary_rpc_method_handler(behave)}
    server.add_generic_rpc_handlers((rpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    clients = Clients(Settings(addresses={"leads": f"127.0.0.1:{port}"}))
    try:
        yield clients
    finally:
        await clients.close()
        await server.stop(None)


async def get(clients: Clients) -> lead_pb2.Lead:
    return await ask(
        clients, lambda: "token", PATH, lead_service_pb2.GetLeadRequest(id="1"), lead_pb2.Lead
    )  # fmt: skip


async def test_a_call_that_the_server_has_cancelled_is_repeated() -> None:
    async with ending(1) as clients:
        assert (await get(clients)).name == "Li Lei"


async def test_a_server_that_goes_on_cancelling_is_away() -> None:
    async with ending(100) as clients:
        with pytest.raises(Problem) as problem:
            await get(clients)
    assert (problem.value.code, problem.value.reason) == (Code.UNAVAILABLE, "MODULE_UNAVAILABLE")
