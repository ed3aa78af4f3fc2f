"""A receiver of OpenTelemetry's protocol over HTTP, which decodes the spans that it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATH = "/v1/traces"


class ReceivedSpan(Struct, frozen=True):
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ms: float
    end_ms: float
    attributes: dict[str, object]
    events: list[str]
    links: list[str]
    is_error: bool
    resource: dict[str, object]


class Receiver:
    def __init__(self, url: str) -> None:
        self.url = url
        self.spans = list[ReceivedSpan]()
        self.bodies = list[bytes]()
        self.status = 200

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to export here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url}

    def of_trace(self, trace_id: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        ReceivedSpan(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.kind,
                            span.start_time_unix_nano / 1e6,
                            span.end_time_unix_nano / 1e6,
                            _values(span.attributes),
                            [event.name for event in span.events],
                            [link.span_id.hex() for link in span.links],
                            span.status.code == 2,
                            resource,
                        )
                    )


def _values(pairs: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in pairs:  # type: ignore[attr-defined]  # a list of protobuf
        found[pair.key] = getattr(pair.value, pair.value.WhichOneof("value"))
    return found


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a free port until the context ends."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if receiver.status == 200 and self.path == PATH:
                receiver.take(body)
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
