"""`python -m gateway`"""

import gc
import threading
from types import FrameType

import uvicorn

from chassis import telemetry
from gateway.app import Life, build
from gateway.connections import Connection
from gateway.settings import Settings


class Server(uvicorn.Server):
    """Told to stop, it is first not ready for a while, so that balancers send no more, and then stops listening."""

    def __init__(self, config: uvicorn.Config, life: Life, drain_seconds: float) -> None:
        super().__init__(config)
        self._life = life
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first = not self._life.leaving
        self._life.leave()
        if first and self._drain_seconds:
            stop = threading.Timer(self._drain_seconds, super().handle_exit, (sig, frame))
            stop.daemon = True
            stop.start()
        else:
            super().handle_exit(sig, frame)


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    settings = Settings()
    telemetry.configure("gateway", settings.log_level)
    host, _, port = settings.listen.rpartition(":")
    life = Life()
    config = uvicorn.Config(
        build(settings, life), host=host, port=int(port), loop="uvloop", http=Connection, log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=10, timeout_keep_alive=30,
    )  # fmt: skip
    # As in the services: what is there now stays, and the collector is not to let requests wait for a look through it.
    gc.collect()
    gc.freeze()
    Server(config, life, settings.drain_seconds).run()


main()
