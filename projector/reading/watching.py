"""Watching jobs live: one tail of the log per process, however many watch.

Rule: a watcher sees every change of its job from a sequence number on, without gap or repeat; a
slow one never makes another one wait. The log is the source, the tail only says that something
happened, so that nothing depends on a projector being up.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

import anyio
import anyio.abc

from everfold.projector.folding.parking import with_skips
from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import Log
from everfold.streams.errors import BrokenChain, UndecodableEvent
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events, tail

READ_AGAIN_S = 10.0
"""A watcher looks into the log at least so often: a hint may be lost with a failover."""


class Watcher:
    """Open it with `async with Watcher(log) as watcher`. The tail begins with the first watch."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting: dict[str, set[anyio.Event]] = {}
        self._exit = contextlib.AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._starting = anyio.Lock()
        self._is_following = False

    async def __aenter__(self) -> Watcher:
        self._tasks = await self._exit.enter_async_context(_background())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def _start_following(self) -> None:
        """Open the tail unless it is open already. Raises Unavailable."""
        assert self._tasks is not None, "the watcher is not open"
        async with self._starting:
            if not self._is_following:
                await self._tasks.start(self._follow)
                self._is_following = True

    async def _follow(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with tail(self._log) as batches:
            task_status.started()
            async for batch in batches:
                for job_id in {record.job_id for record in batch}:
                    for event in self._waiting.get(job_id, ()):
                        event.set()

    async def watch(self, job_id: str, after_seq: int = 0) -> AsyncIterator[Job]:
        """Yield the job's state after each event above `after_seq`, until it has ended.

        What a slow consumer has not taken yet waits in the log, not in memory. Raises JobUnknown,
        Unavailable, or a leaf of CorruptLog where the history cannot be read on.
        """
        history = await self._told(job_id, 0)
        job = Job(job_id=job_id)
        for record in history:
            if record.seq <= after_seq:
                job = _attempt_watch(job, record)
        del history
        while not job.is_terminal:
            for record in await self._after(job_id, job.seq):
                job = _attempt_watch(job, record)
                if job.seq > after_seq:
                    yield job

    async def _told(self, job_id: str, after_seq: int) -> Sequence[Recorded]:
        events = await job_events(self._log, job_id, after_seq=after_seq)
        return await with_skips(self._log, self._log.keys.partition_of(job_id), events)

    async def _after(self, job_id: str, seq: int) -> Sequence[Recorded]:
        """Return the events after `seq`, as soon as there are some."""
        await self._start_following()
        changed = anyio.Event()
        watching = self._waiting.setdefault(job_id, set())
        watching.add(changed)
        try:
            events = await self._told(job_id, seq)
            if not events:
                with anyio.move_on_after(READ_AGAIN_S):
                    await changed.wait()
            return events
        finally:
            watching.discard(changed)
            if not watching:
                self._waiting.pop(job_id, None)

    async def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Return the job once it has ended. Raises TimeoutError, JobUnknown."""
        with anyio.fail_after(timeout_s):
            job = await current(self._log, job_id)
            if job.is_terminal:
                return job
            async for job_now in self.watch(job_id, job.seq):
                job = job_now
        return job


def _attempt_watch(job: Job, record: Recorded) -> Job:
    """Return the state after the next event. Raises CorruptLog where that is not one."""
    if record.seq != job.seq + 1:
        raise BrokenChain(record.job_id, job.seq + 1, record.seq)
    if isinstance(record.event, Unreadable) and not record.event.skipped:
        raise UndecodableEvent(record.job_id, record.seq, record.entry_id, record.event.why)
    return evolve(job, record)


@contextlib.asynccontextmanager
async def _background() -> AsyncIterator[anyio.abc.TaskGroup]:
    """A task group whose tasks end with the context."""
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        finally:
            tasks.cancel_scope.cancel()
