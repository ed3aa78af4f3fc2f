"""The trace of whoever submits: given by name, by a request, or by the application's own tracing.

Rule: OpenTelemetry is asked only where the application has loaded it; nothing is loaded for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from everfold.streams.telemetry.trace_context import TraceContext, read_traceparent

_given: ContextVar[str] = ContextVar("traceparent", default="")


@contextmanager
def given_traceparent(text: str) -> Iterator[None]:
    """Let this be the caller's trace for what is submitted inside, as a request's header says."""
    token = _given.set(text)
    try:
        yield
    finally:
        _given.reset(token)


def caller_trace(text: object = None) -> TraceContext | None:
    """Return the trace that a submit belongs to: that of `text`, an empty one means none. Without
    a text it is the application's current span of OpenTelemetry, else that of the request."""
    if text is not None:
        return read_traceparent(text)
    return read_traceparent(_current()) or read_traceparent(_given.get())


def _current() -> str:
    """Return the current span of an application that has loaded OpenTelemetry."""
    loaded = sys.modules.get("opentelemetry.trace")
    if loaded is None:
        return ""
    try:
        span = loaded.get_current_span().get_span_context()
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    except (AttributeError, TypeError, ValueError):  # of a version that is not known
        return ""
