"""A request is one trace from the gateway through service, outbox and bus to whoever hears of it, and the logs name it."""

import json
from collections import defaultdict
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from kehu_local.suite import start_suite

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    """Names of spans by service, of one trace."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, list[str]] = defaultdict(list)

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    if span.trace_id.hex() == TRACE:
                        self.seen[service].append(span.name)
        return trace_service_pb2.ExportTraceServiceResponse()


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Names of measures by service."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, set[str]] = defaultdict(set)

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_metrics:
            service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for scope in resource.scope_metrics:
                self.seen[service] |= {metric.name for metric in scope.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()


def test_one_trace(tmp_path: Path, eventually: Callable[..., Any]) -> None:
    traces, metrics = Traces(), Metrics()
    collector = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(traces, collector)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(metrics, collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }
    installed = ["identity", "leads", "analytics"]
    try:
        with start_suite(
            tmp_path / "var", services=installed, environment=environment, keep_password=True
        ) as suite:
            assert suite.sign_in is not None
            said = {
                "tenant": suite.sign_in.tenant,
                "email": suite.sign_in.email,
                "password": suite.sign_in.password,
            }
            token = httpx.post(f"{suite.base_url}/v1/sessions:signIn", json=said).json()["accessToken"]
            headers = {
                "authorization": f"Bearer {token}",
                "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
            }
            made = httpx.post(f"{suite.base_url}/v1/leads", json={"name": "Traced"}, headers=headers)
            assert made.status_code == 200, made.text
            eventually(lambda: {"kehu-gateway", "kehu-leads", "kehu-analytics"} <= traces.seen.keys(), 20)
            assert any("CreateLead" in name for name in traces.seen["kehu-leads"])
            assert any("CreateLead" in name for name in traces.seen["kehu-gateway"])
            assert any(name.startswith("consume ") for name in traces.seen["kehu-analytics"])
            eventually(lambda: metrics.seen["kehu-leads"], 20)
            log = suite.var / "log" / "gateway.log"
            eventually(lambda: TRACE in [json.loads(line).get("trace_id") for line in log.open()], 20)
    finally:
        collector.stop(None)
