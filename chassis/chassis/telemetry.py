"""One trace from the browser through gRPC, outbox and bus to the consumer; and logs as JSON lines that name it.

The W3C `traceparent` travels in call metadata, in the outbox row and in the event's headers. Spans are exported by OTLP when
the standard variable OTEL_EXPORTER_OTLP_ENDPOINT is set; without it nothing is sent and nothing is sampled, but trace ids are
still made and passed on, so that the logs of all services can be joined.
"""

import logging
import os
import random
import re
import sys
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("kehu")
_exporting = False
_silent: ContextVar["Trace | None"] = ContextVar("kehu_trace", default=None)
"""The running trace of a process that sends no spans."""


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


class Trace(NamedTuple):
    """A place in a trace: its id in 32 hex digits, and the W3C header that continues it."""

    id: str
    parent: str


def continued(header: str) -> Trace:
    """The trace of a W3C `traceparent` with a new span in it; a new trace when the header is none."""
    span = f"{_RANDOM.getrandbits(64) or 1:016x}"
    found = _TRACEPARENT.fullmatch(header)
    if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
        id = f"{_RANDOM.getrandbits(128) or 1:032x}"
        return Trace(id, f"00-{id}-{span}-01")
    return Trace(found[1], f"00-{found[1]}-{span}-{found[3]}")


_TRACEPARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_RANDOM = (
    random.Random()
)  # seeded by the system; ids have to differ, and nobody has to be unable to guess them


@contextmanager
def span(name: str, kind: SpanKind, carrier: Mapping[str, str], **attributes: str) -> Generator[trace.Span]:
    """Work that continues the trace in `carrier` (metadata or headers), or begins one."""
    if _exporting:
        parent = _PROPAGATOR.extract(carrier)
        with _tracer.start_as_current_span(name, parent, kind, attributes) as current:
            yield current
        return
    # Every call and every event passes here: a trace that is only passed on costs no context of the library's.
    token = _silent.set(continued(carrier.get("traceparent", "")))
    try:
        yield trace.INVALID_SPAN
    finally:
        _silent.reset(token)


def traceparent() -> str:
    """The running trace as a W3C header; empty outside of any."""
    if not _exporting:
        running = _silent.get()
        return running.parent if running is not None else ""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent", "")


def trace_id() -> str:
    """The running trace's id in 32 hex digits; empty outside of any."""
    if not _exporting:
        running = _silent.get()
        return running.id if running is not None else ""
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
