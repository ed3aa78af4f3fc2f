"""Exports the spans of the jobs that this runner has ended.

Rule: no job waits for it. Who cannot be told of in time is left out; what is exported is made of
the log alone, so that each job is told of once, and wholly.
"""

from __future__ import annotations

from collections import deque

import anyio

from everfold.projector.job.job import Job
from everfold.runner.telemetry.job_spans import spans_of
from everfold.runner.telemetry.job_trace import trace_of
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.reading.reader import job_events
from everfold.streams.telemetry import tracing

logger = get_logger("everfold.tracing")

WAITING_LIMIT = 1_000
"""Jobs that have ended and are not told of yet."""

LAST_WITHIN_S = 1.0
"""How long the end of a runner waits for the last of them."""


class SpanReporter:
    """Told of each job that ends; reads its events and hands its spans over."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting = deque[Job]()
        self._told = anyio.Event()
        self._left_out = 0

    def ended(self, job: Job) -> None:
        """Export a job that this runner has ended, soon; returns at once."""
        if not tracing.is_on() or not trace_of(job, self._log.generation).is_sampled:
            return
        if len(self._waiting) >= WAITING_LIMIT:
            self._left_out += 1
            return
        self._waiting.append(job)
        self._told.set()

    async def run(self) -> None:
        """Export until cancelled."""
        while True:
            await self._told.wait()
            self._told = anyio.Event()
            await self._export_waiting()

    async def finish(self) -> None:
        """Export what is left, LAST_WITHIN_S at most."""
        with anyio.move_on_after(LAST_WITHIN_S):
            await self._export_waiting()

    async def _export_waiting(self) -> None:
        while self._waiting:
            await self._export(self._waiting.popleft())

    async def _export(self, job: Job) -> None:
        if self._left_out:
            logger.warning("traces_left_out jobs=%d", self._left_out)
            self._left_out = 0
        try:
            history = await job_events(self._log, job.job_id)
        except EverfoldError as error:
            logger.warning("trace_not_read job=%s why=%s", job.job_id, str(error))
            return
        tracing.export(spans_of(job, history, trace_of(job, self._log.generation)))
