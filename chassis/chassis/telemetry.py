"""One trace from the browser through gRPC, outbox and bus to the consumer; and logs as JSON lines that name it.

The W3C `traceparent` travels in call metadata, in the outbox row and in the event's headers. Spans are exported by OTLP when
the standard variable OTEL_EXPORTER_OTLP_ENDPOINT is set; without it nothing is sent and nothing is sampled, but trace ids are
still made and passed on, so that the logs of all services can be joined.
"""

import logging
import os
import secrets
import sys
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from opentelemetry import metrics, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("kehu")
_exporting = False


def configure(service: str, level: str = "INFO") -> None:
    """Sets up logs, and export when the environment asks for it. Once a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("nats").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        _export(service)


def _export(service: str) -> None:
    # Imported here: the SDK and the exporter cost start-up time and memory that a silent process need not pay.
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    global _exporting
    resource = Resource.create({"service.name": f"kehu-{service}"})
    spans = TracerProvider(resource=resource)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(spans)
    metrics.set_meter_provider(
        MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())])
    )
    _exporting = True


def exporting() -> bool:
    """Whether spans are sent anywhere."""
    return _exporting


@contextmanager
def span(name: str, kind: SpanKind, carrier: Mapping[str, str], **attributes: str) -> Generator[trace.Span]:
    """Work that continues the trace in `carrier` (metadata or headers), or begins one."""
    parent = _PROPAGATOR.extract(carrier)
    if _exporting:
        with _tracer.start_as_current_span(name, parent, kind, attributes) as current:
            yield current
        return
    context = trace.get_current_span(parent).get_span_context()
    trace_id = context.trace_id if context.is_valid else secrets.randbits(128)
    silent = NonRecordingSpan(SpanContext(trace_id, secrets.randbits(64), False, TraceFlags(0)))
    with trace.use_span(silent):
        yield silent


def traceparent() -> str:
    """The running trace as a W3C header; empty outside of any."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent", "")


def trace_id() -> str:
    """The running trace's id in 32 hex digits; empty outside of any."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else ""


_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
}


class JsonLines(logging.Formatter):
    """A log record as one JSON object a line, with the trace it belongs to and whatever was passed as `extra`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        current = trace_id()
        if current:
            line["trace_id"] = current
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = "".join(traceback.format_exception(*record.exc_info))
        return orjson.dumps(line, default=str).decode()
