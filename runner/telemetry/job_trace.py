"""The trace of one job, and the spans in it that events stand for.

Rule: a job whose caller gave no trace begins one of its own, whose id is made from the job's. All
runners name the same span alike, whoever of them appends or exports.
"""

from __future__ import annotations

from functools import lru_cache

from everfold.projector.job.job import Job
from everfold.streams.events.event import CLOSING_STATUS, Event, Fact
from everfold.streams.telemetry import tracing
from everfold.streams.telemetry.trace_context import TraceContext, derived, read_traceparent

KEPT = 5_000
"""Traces of jobs that are remembered, so that not each event makes their ids again."""


class JobTrace:
    """The trace of a job; `given` is what its events say of it."""

    def __init__(self, job_id: str, generation: str, given: str) -> None:
        trace_id = derived(16, "trace", generation, job_id)
        caller = read_traceparent(given)
        self.caller = caller if caller and caller.trace_id != trace_id else None
        """The caller's span; None where the trace begins with the job."""
        self.job_id = job_id
        root = TraceContext(trace_id, derived(8, "trace", job_id), tracing.samples(trace_id))
        self.submit = (self.caller or root).child(job_id, "submit")

    @property
    def is_sampled(self) -> bool:
        """Whether it is exported."""
        return self.submit.is_sampled

    @property
    def is_told(self) -> bool:
        """Whether events carry it: that of a caller goes on even where nobody exports it."""
        return self.is_sampled or self.caller is not None

    def span(self, name: str, epoch: int, attempt: int = 0) -> TraceContext:
        """Return a span of one lease of the job, or of an attempt in it."""
        return self.submit.child(self.job_id, name, epoch, attempt)

    def of_event(self, event: Event | Fact, epoch: int, attempt: int) -> TraceContext:
        """Return the span that an event belongs to; `attempt` is the newest when it is appended."""
        if type(event) in CLOSING_STATUS:
            return self.span("end", epoch)
        attempt = getattr(event, "attempt", attempt)
        return self.span("process", epoch, attempt) if attempt else self.span("receive", epoch)


def trace_of(job: Job, generation: str) -> JobTrace:
    """Return the trace of a job in the state that is known."""
    return _trace_of(job.job_id, generation, job.trace)


@lru_cache(maxsize=KEPT)
def _trace_of(job_id: str, generation: str, given: str) -> JobTrace:
    return JobTrace(job_id, generation, given)
