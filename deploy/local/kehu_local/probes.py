"""Whether what was started is ready for work: asked of it, not guessed from time."""

import http.client
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kehu_local.processes import port_taken


def serving(address: str) -> bool:
    """Whether the gRPC server at host:port of this machine says that it serves."""
    # Asked many times while it starts: a channel for each would take from it the processor that it starts on.
    if not port_taken(int(address.rpartition(":")[2])):
        return False
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def ready(base_url: str) -> bool:
    """Whether the gateway at that address answers its readiness probe with 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base_url}/readyz", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False
