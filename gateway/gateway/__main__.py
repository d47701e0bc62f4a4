"""`python -m gateway`"""

import uvicorn

from chassis import telemetry
from gateway.app import build
from gateway.settings import Settings


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    settings = Settings()
    telemetry.configure("gateway", settings.log_level)
    host, _, port = settings.listen.rpartition(":")
    uvicorn.run(
        build(settings), host=host, port=int(port), loop="uvloop", http="httptools", log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=10, timeout_keep_alive=30,
    )  # fmt: skip


main()
