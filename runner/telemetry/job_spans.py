"""The spans of a job, made of its events: one whole trace, whoever died in between.

Rule: no clock and no I/O. All times are those of the log, so nothing is lost that the log knows. A
span holds ids, codes and names of queues, backends and runners: no user, no metadata, no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everfold.projector.job.job import Job
from everfold.runner.telemetry.job_trace import JobTrace
from everfold.streams.events import event as events
from everfold.streams.events.record import Recorded
from everfold.streams.telemetry.trace_context import TraceContext
from everfold.streams.telemetry.tracing import Kind, Span, Value

MOMENTS_LIMIT = 100
"""Events of one attempt's span."""

_MOMENTS: Mapping[type[object], str] = {
    events.Queued: "accepted",
    events.Started: "started",
    events.Stopping: "stopping",
    events.CancelRequested: "cancel_requested",
}


def spans_of(job: Job, history: Sequence[Recorded], trace: JobTrace) -> list[Span]:
    """Return the spans of a job that has ended; `history` is all of it that the log still has."""
    making = _Making(job, trace)
    for record in history:
        making.add(record)
    return making.spans


class _Attempt:
    """An attempt in the hands of one runner."""

    def __init__(self, context: TraceContext, start_ms: int, attributes: Mapping[str, Value]):
        self.context, self.start_ms, self.attributes = context, start_ms, attributes
        self.moments = list[tuple[str, int]]()


class _Making:
    def __init__(self, job: Job, trace: JobTrace) -> None:
        self._job, self._trace = job, trace
        self.spans = list[Span]()
        self._waits_since_ms: int | None = None
        self._attempt: _Attempt | None = None
        self._former: list[str] = []
        """The span of the attempt that goes on in another one."""
        self._is_alive = False
        """The attempt may live at its backend, whoever has the job."""
        self._number, self._backend, self._owner = 0, "", ""
        self._last_ms = 0
        """The time of the event before."""

    def add(self, record: Recorded) -> None:
        """Take one more event."""
        event, at_ms, epoch = record.event, record.time_ms, record.epoch
        if not self.spans:
            self._last_ms = at_ms
            self._begin(at_ms)
        match event:
            case events.Claimed(owner=owner):
                self._claimed(owner, epoch, at_ms, at_ms, {})
            case events.Recovered():
                self._recovered(event, epoch, at_ms)
            case events.Submitting():
                self._number, self._backend, self._is_alive = event.attempt, event.backend, True
                self._former = []
                self._open_attempt(epoch, at_ms)
            case events.Released(reason=reason):
                self._close_attempt(at_ms, "", {"everfold.released": reason})
                self._waits_since_ms = at_ms
            case events.Lost(cause=cause):
                self._is_alive = False
                self._close_attempt(at_ms, cause)
            case events.Retried(failure=failure):
                self._is_alive = False
                self._close_attempt(at_ms, failure.code)
                self._waits_since_ms = at_ms
            case events.Succeeded() | events.Failed() | events.Canceled() | events.Expired():
                self._end(event, epoch, at_ms)
            case _:
                self._note(type(event), at_ms)
        self._last_ms = at_ms

    def _begin(self, at_ms: int) -> None:
        """Tell the submit, and the trace's parent, where the job was made known."""
        caller = self._trace.caller
        self._add("submit", self._trace.submit, at_ms, at_ms, "producer",
                  parent_id=caller.span_id if caller else "")  # fmt: skip
        self._waits_since_ms = at_ms

    def _claimed(
        self, owner: str, epoch: int, from_ms: int, at_ms: int, more: Mapping[str, Value]
    ) -> None:
        self._owner = owner
        self._waited(epoch, at_ms)
        context = self._trace.span("receive", epoch)
        self._add("receive", context, from_ms, at_ms, "consumer", more=more)
        if self._is_alive:
            self._open_attempt(epoch, at_ms)

    def _waited(self, epoch: int, at_ms: int) -> None:
        if self._waits_since_ms is not None:
            context = self._trace.span("wait", epoch)
            self._add("wait", context, self._waits_since_ms, at_ms)
        self._waits_since_ms = None

    def _recovered(self, event: events.Recovered, epoch: int, at_ms: int) -> None:
        """Tell when the former runner was heard of last, and how long nobody had the job."""
        died_ms = max(min(self._last_ms, at_ms), at_ms - max(0, event.idle_ms))
        self._close_attempt(died_ms, event.reason)
        more = {"everfold.former_runner": event.previous_owner, "everfold.recovery": event.reason}
        self._claimed(event.owner, epoch, died_ms, at_ms, more)

    def _open_attempt(self, epoch: int, at_ms: int) -> None:
        context = self._trace.span("process", epoch, self._number)
        place: dict[str, Value] = {"everfold.attempt": self._number}
        if self._backend:
            place["everfold.backend"] = self._backend
        self._attempt = _Attempt(context, at_ms, place)

    def _close_attempt(
        self, at_ms: int, error: str, more: Mapping[str, Value] | None = None
    ) -> _Attempt | None:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return None
        links = [self._trace.submit.span_id, *self._former]
        self._add("process", attempt.context, attempt.start_ms, at_ms, "consumer",
                  more={**attempt.attributes, **(more or {})}, links=links, error=error,
                  moments=attempt.moments)  # fmt: skip
        self._former = [attempt.context.span_id]
        return attempt

    def _note(self, kind: type[object], at_ms: int) -> None:
        name, attempt = _MOMENTS.get(kind), self._attempt
        if name and attempt is not None and len(attempt.moments) < MOMENTS_LIMIT:
            attempt.moments.append((name, at_ms))

    def _end(self, event: events.Terminal, epoch: int, at_ms: int) -> None:
        self._waited(epoch, at_ms)
        status = events.closing_status(event)
        code = event.failure.code if isinstance(event, events.Failed) else status
        error = "" if isinstance(event, events.Succeeded) else code
        done_ms = at_ms
        if isinstance(event, events.Succeeded | events.Failed) and self._attempt is not None:
            # By the backend's own clock, so it may be any time.
            done_ms = min(max(event.ended_at_ms or at_ms, self._attempt.start_ms), at_ms)
        attempt = self._close_attempt(done_ms, error)
        if attempt is not None and isinstance(event, events.Succeeded):
            parent, context = attempt.context.span_id, self._trace.span("collect", epoch)
            self._add("collect", context, done_ms, at_ms, parent_id=parent)
        more = {"everfold.status": status}
        context = self._trace.span("end", epoch)
        self._add("end", context, at_ms, at_ms, "consumer", more=more, error=error)

    def _add(
        self,
        name: str,
        context: TraceContext,
        start_ms: int,
        end_ms: int,
        kind: Kind = "internal",
        *,
        parent_id: str | None = None,
        more: Mapping[str, Value] | None = None,
        links: Sequence[str] = (),
        error: str = "",
        moments: Sequence[tuple[str, int]] = (),
    ) -> None:
        attributes = {**_common(self._job, name), **(more or {})}
        if self._owner:
            attributes["everfold.runner"] = self._owner
        self.spans.append(
            Span(
                name=f"{name} {self._job.queue}",
                trace_id=context.trace_id,
                span_id=context.span_id,
                parent_id=self._trace.submit.span_id if parent_id is None else parent_id,
                kind=kind,
                start_ms=min(start_ms, end_ms),
                end_ms=end_ms,
                attributes=attributes,
                events=tuple(moments),
                links=tuple(links),
                error=error,
            )
        )


_TYPES = {"submit": "send", "receive": "receive", "process": "process", "end": "settle"}


def _common(job: Job, name: str) -> dict[str, Value]:
    """Return OpenTelemetry's attributes of messaging."""
    found: dict[str, Value] = {
        "messaging.system": "everfold",
        "messaging.destination.name": job.queue,
        "messaging.message.id": job.job_id,
        "messaging.operation.name": name,
    }
    return found | ({"messaging.operation.type": _TYPES[name]} if name in _TYPES else {})
