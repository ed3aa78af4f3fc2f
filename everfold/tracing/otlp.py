"""Exports spans by OTLP over HTTP, with the SDK of OpenTelemetry (extra `otel`).

Rule: a receiver that is dead, slow or wrong costs no job anything: spans wait in a bounded queue, a
thread sends them, what does not fit is dropped, and trouble is one line of the log a minute.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from everfold.streams.border.logger import get_logger, silence
from everfold.streams.telemetry.tracing import Exporter, Kind, Span

logger = get_logger("everfold.tracing")

SEND_EVERY_MS = 500
QUEUE_LIMIT = 2048
"""Spans that wait to be sent."""

SAY_EVERY_S = 60.0
END_WITHIN_S = 1.0

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class OtlpTracing:
    """Sends the spans of this process to the receiver that the environment names."""

    def __init__(self, version: str) -> None:
        silence("opentelemetry")  # it would tell each failure, with a traceback
        own = {
            "service.name": "everfold",
            "service.version": version,
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
        is_named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        if is_named or os.environ.get("OTEL_SERVICE_NAME"):
            del own["service.name"]
        self._scope = InstrumentationScope("everfold", version)
        self._resource = Resource.create(own)
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler
        self._processor = BatchSpanProcessor(
            _BoundedComplaints(OTLPSpanExporter()),
            max_queue_size=QUEUE_LIMIT,
            schedule_delay_millis=SEND_EVERY_MS,
            max_export_batch_size=QUEUE_LIMIT // 4,
        )

    @property
    def exporter(self) -> Exporter:
        """Return what takes the spans."""
        return Exporter(self._export, self._samples)

    def close(self) -> None:
        """Send what is left, END_WITHIN_S at most."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(END_WITHIN_S)

    def _samples(self, trace_id: str) -> bool:
        found = self._sampler.should_sample(None, int(trace_id, 16), "submit")
        return found.decision is Decision.RECORD_AND_SAMPLE

    def _export(self, spans: Sequence[Span]) -> None:
        for span in spans:
            self._processor.on_end(self._made(span))

    def _made(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=_context(span.trace_id, span.parent_id) if span.parent_id else None,
            resource=self._resource,
            attributes={**span.attributes, **({"error.type": span.error} if span.error else {})},
            events=[Event(name, timestamp=at_ms * 1_000_000) for name, at_ms in span.events],
            links=[Link(_context(span.trace_id, one)) for one in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.start_ms * 1_000_000,
            end_time=span.end_ms * 1_000_000,
            instrumentation_scope=self._scope,
        )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_SAMPLED)


class _BoundedComplaints(SpanExporter):
    """Sends by another exporter, and says what goes wrong once a minute."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._said_at_s = -SAY_EVERY_S
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; those that cannot be sent are lost."""
        why = "the receiver did not take them"
        try:
            result = self._inner.export(spans)
        except Exception as error:  # whatever it is, jobs go on
            result, why = SpanExportResult.FAILURE, str(error)
        if result is not SpanExportResult.SUCCESS:
            self._complain(len(spans), why)
        return result

    def _complain(self, count: int, why: str) -> None:
        self._lost += count
        if time.monotonic() - self._said_at_s >= SAY_EVERY_S:
            self._said_at_s = time.monotonic()
            logger.warning("spans_lost count=%d why=%s", self._lost, why)
            self._lost = 0

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 1_000) -> bool:
        return self._inner.force_flush(timeout_millis)
