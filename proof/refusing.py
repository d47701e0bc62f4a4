"""A server in a service's place that refuses every call as one that is out of order does, and counts what reaches it."""

import threading
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import grpc


@dataclass
class Refusing:
    """Answers UNAVAILABLE to everything. `attempts` is by method, e.g. `GetCustomer`."""

    attempts: Counter[str] = field(default_factory=Counter[str])
    address: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Counts an attempt."""
        with self._lock:
            self.attempts[str(handler_call_details.method).rpartition("/")[2]] += 1
        make = cast(Any, grpc).unary_unary_rpc_method_handler  # its stub says nothing of the messages' types
        return make(_refuse, request_deserializer=bytes, response_serializer=bytes)


def _refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.UNAVAILABLE, "out of order")
    raise AssertionError("unreachable")


@contextmanager
def refusing(address: str = "127.0.0.1:0") -> Generator[Refusing]:
    """Such a server at that address, for the time of the block. Raises RuntimeError when the port is taken."""
    handler = Refusing()
    handlers: Any = [handler]
    server = grpc.server(ThreadPoolExecutor(4), handlers=handlers, options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port(address)
    handler.address = f"127.0.0.1:{port}"
    server.start()
    try:
        yield handler
    finally:
        server.stop(None).wait()
