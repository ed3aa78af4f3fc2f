"""Watches jobs live: one tail of the log per process, for any number of watches.

Rule: a watch yields every change of its job from a sequence number on, without gap or repeat, and
a slow one never makes another one wait. Events are read from the log; the tail only wakes watches,
so no projector needs to run.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

import anyio
import anyio.abc
from msgspec.structs import replace

from everfold.projector.folding.parking import with_skips
from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import Log
from everfold.streams.errors import (
    BrokenChain,
    ClientClosed,
    CorruptLog,
    JobUnknown,
    UndecodableEvent,
)
from everfold.streams.events.checks import check_job
from everfold.streams.events.codec import Unreadable, decode
from everfold.streams.events.event import Progressed, Rewound, closing_status
from everfold.streams.events.ranges import check_number, whole_number
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events, tail

BACK_WITHIN_S, LOOK_EVERY_S = 15.0, 0.2
"""How long a job that the server has lost may stay unknown, and how often it is looked for."""

SHARED_S = 0.5
"""For how long what one watch has read serves others that would read the same."""

READ_AGAIN_S = 10.0
"""A watch reads the log at least this often, because a failover may lose the wake-up."""


class _Read:
    """One read of a job's events: those after a number, once so many batches told of the job."""

    def __init__(self, after_seq: int, told: int) -> None:
        self.of = after_seq, told
        self.began_s, self.is_over = anyio.current_time(), anyio.Event()
        self.events: Sequence[Recorded] | None = None
        self.is_unknown = False
        """The server did not know the job."""

    @property
    def is_old(self) -> bool:
        """Say whether the server may be another one since, as after a failover."""
        return self.is_over.is_set() and anyio.current_time() - self.began_s > SHARED_S


class _Watched:
    """A job that somebody watches."""

    def __init__(self) -> None:
        self.watches = set[_Watch]()
        self.told = 0
        """Batches of the tail that had events of it."""
        self.read: _Read | None = None
        """The newest one, which all watches share that would read the same."""

    def wake(self) -> None:
        """Let all watches read."""
        for watch in self.watches:
            if watch.news is not None:
                watch.news.set()


class _Watch:
    """One watch of a job: registered before it reads, so that nothing is missed in between."""

    def __init__(self, watched: _Watched) -> None:
        self.watched = watched
        self.news: anyio.Event | None = None
        """Set when there is something to read; None before the first read."""


class Watcher:
    """Open it with `async with Watcher(log) as watcher`. Its first watch begins to tail the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._watched: dict[str, _Watched] = {}
        self._exit = contextlib.AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._starting = anyio.Lock()
        self._is_following = self._is_closed = False

    async def __aenter__(self) -> Watcher:
        self._tasks = await self._exit.enter_async_context(_background())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closed = True
        for watched in self._watched.values():
            watched.wake()  # nobody else would, for READ_AGAIN_S
        await self._exit.aclose()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientClosed

    async def _start_following(self) -> None:
        """Open the tail unless it is open already. Raises ClientClosed, Unavailable."""
        assert self._tasks is not None, "the watcher is not open"
        async with self._starting:
            self._check_open()
            if not self._is_following:
                try:
                    await self._tasks.start(self._follow)
                except (RuntimeError, anyio.get_cancelled_exc_class()):
                    # The close may have cancelled what had just begun, and not the caller.
                    self._check_open()
                    raise
                self._is_following = True

    async def _follow(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with tail(self._log) as batches:
            task_status.started()
            async for batch in batches:
                for job_id in {record.job_id for record in batch}:
                    if (watched := self._watched.get(job_id)) is not None:
                        watched.told += 1
                        watched.wake()

    async def watch(self, job_id: str, after_seq: int = 0) -> AsyncIterator[Job]:
        """Yield the job after each event above `after_seq`; end after its terminal event.

        Events that a slow caller has not taken wait in the log, not in memory. Raises JobUnknown,
        Unavailable, and BrokenChain or UndecodableEvent at an event that is missing or cannot be
        read.
        """
        job_id, after_seq = check_job(job_id), whole_number("after_seq", after_seq)
        history = await self._events(job_id, 0)
        if history and history[-1].seq < after_seq and any(map(_is_rewound, history)):
            after_seq = 0  # the server has lost what this caller has seen
        job = Job(job_id=job_id)
        for record in history:
            if record.seq <= after_seq:
                job = _evolve_next(job, record)
        del history
        if job.is_terminal:
            return
        async with self._registered(job_id) as watch:
            while not job.is_terminal:
                events = await self._after(job, watch)
                if job.seq and not (events and events[0].entry_id == job.entry_id):
                    if (found := await self._anew(job)) is not None:
                        yield (job := found)
                    continue
                for record in events[1:] if job.seq else events:
                    job = _evolve_next(job, record)
                    if job.seq > after_seq:
                        yield job

    async def _anew(self, job: Job) -> Job | None:
        """Return the job as it is after the server has lost events of it; None while it is unknown.

        Raises JobUnknown where nobody makes it known again within BACK_WITHIN_S.
        """
        with anyio.move_on_after(BACK_WITHIN_S):
            while True:
                with contextlib.suppress(JobUnknown):
                    found = Job(job_id=job.job_id)
                    for record in await self._events(job.job_id, 0):
                        found = _evolve_next(found, record)
                    return found
                await anyio.sleep(LOOK_EVERY_S)
        raise JobUnknown(job.job_id)

    async def _events(self, job_id: str, after_seq: int) -> Sequence[Recorded]:
        events = await job_events(self._log, job_id, after_seq=after_seq)
        return await with_skips(self._log, self._log.keys.partition_of(job_id), events)

    @contextlib.asynccontextmanager
    async def _registered(self, job_id: str) -> AsyncIterator[_Watch]:
        """Have the tail tell of the job's events. Raises Unavailable."""
        await self._start_following()
        watched = self._watched.setdefault(job_id, _Watched())
        watch = _Watch(watched)
        watched.watches.add(watch)
        try:
            yield watch
        finally:
            watched.watches.discard(watch)
            if not watched.watches:
                self._watched.pop(job_id, None)

    async def _after(self, job: Job, watch: _Watch) -> Sequence[Recorded]:
        """Return the job's last known event and those after it; but for the first time, wait for
        news of it before. Without the first event the server has lost it."""
        told = watch.news
        if told is not None:
            with anyio.move_on_after(READ_AGAIN_S):
                await told.wait()
        self._check_open()
        watch.news = anyio.Event()
        after_seq = max(0, job.seq - 1)
        try:
            if told is not None and told.is_set():
                return await self._shared(job.job_id, after_seq, watch.watched)
            watch.watched.read = None
            return await self._events(job.job_id, after_seq)
        except JobUnknown:
            if not job.seq:
                raise
            return ()

    async def _shared(self, job_id: str, after_seq: int, watched: _Watched) -> Sequence[Recorded]:
        """Return what `_events` does; of watches that were told of the same, one reads for all."""
        while True:
            read = watched.read
            if read is None or read.of != (after_seq, watched.told) or read.is_old:
                return await self._read(job_id, after_seq, watched)
            await read.is_over.wait()
            if read.events is not None:
                return [_own(record) for record in read.events]
            if read.is_unknown:
                raise JobUnknown(job_id)

    async def _read(self, job_id: str, after_seq: int, watched: _Watched) -> Sequence[Recorded]:
        read = watched.read = _Read(after_seq, watched.told)
        try:
            read.events = await self._events(job_id, after_seq)
        except JobUnknown:
            read.is_unknown = True
            raise
        finally:
            if read.events is None and watched.read is read:
                watched.read = None  # whoever comes next reads by itself
            read.is_over.set()
        return read.events

    async def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Return the job once it has ended; None waits without a limit.

        It waits on past events that cannot be read: the end says by itself how the job ended.
        Raises InvalidName, TimeoutError, JobUnknown, Unavailable, and BrokenChain where no event
        is left.
        """
        job_id = check_job(job_id)
        check_number("timeout_s", timeout_s, "wait_timeout_s")
        with anyio.fail_after(timeout_s):
            while True:
                try:
                    job = await current(self._log, job_id)
                    if job.is_terminal:
                        return job
                    async for job_now in self.watch(job_id, job.seq):
                        job = job_now
                except CorruptLog:
                    await self._until_longer(job_id)
                else:
                    return job

    async def _until_longer(self, job_id: str) -> None:
        """Wait for one more event of a job that cannot be read now: its end can be read."""
        events = await self._events(job_id, 0)
        if not events:
            raise BrokenChain(job_id, 1, 0)
        last = events[-1]
        if isinstance(last.event, Unreadable) or not closing_status(last.event):
            known = Job(job_id=job_id, seq=last.seq, entry_id=last.entry_id)
            async with self._registered(job_id) as watch:
                if len(await self._after(known, watch)) == 1 and watch.news is not None:
                    with anyio.move_on_after(READ_AGAIN_S):
                        await watch.news.wait()


def _own(record: Recorded) -> Recorded:
    """Return an event that shares nothing with another watch that its caller may change."""
    if isinstance(record.event, Progressed | Unreadable):
        return record
    return replace(record, event=decode(record.payload))


def _evolve_next(job: Job, record: Recorded) -> Job:
    """Return the job after its next event. Raises BrokenChain, UndecodableEvent."""
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


def _is_rewound(record: Recorded) -> bool:
    return isinstance(record.event, Rewound)
