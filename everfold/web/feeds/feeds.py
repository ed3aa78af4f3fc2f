"""Follows the log once per gateway, and tells each job's watchers what happens to their job.

Rule: a job is read and folded once for all its watchers. Nothing is lost between the state that a
watcher begins with and the changes that follow, and a gap in what was followed is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from everfold.streams.reading.reader import job_events, tail
from everfold.web.feeds.ring import Ring

logger = get_logger("everfold.web")

CHANGES_KEPT = 256
"""Changes of one job by which a watcher may be late: more than a minute of them."""
RECORDS_KEPT = 4096
"""Events of the namespace by which one who follows all of them may be late."""


class Change(Struct, frozen=True):
    """One event, and the job after it."""

    job: Job
    record: Recorded
    encoded: dict[str, bytes] = {}
    """What is sent of it, by contract: made once for all watchers."""


class Preview(Struct, frozen=True):
    """A picture of a node that is not done yet, as its backend sent it."""

    node: str
    media_type: str
    image: bytes


class JobFeed:
    """One job as it is now, and what happens to it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.changes = Ring[Change](CHANGES_KEPT)
        self.previews = Ring[Preview](1)
        if job.is_terminal:
            self._close()

    def apply(self, record: Recorded) -> None:
        """Fold the next event."""
        self.job = evolve(self.job, record)
        self.changes.add(Change(self.job, record))
        if self.job.is_terminal:
            self._close()

    def _close(self) -> None:
        self.changes.close()
        self.previews.close()


class Feeds:
    """The feeds of one gateway. Enter it before use."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._feeds: dict[str, JobFeed] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._watchers: dict[str, int] = {}
        self.records = Ring[Recorded](RECORDS_KEPT)
        """Every event of the namespace, readable ones and others, in the order of each job."""
        self._exit = contextlib.AsyncExitStack()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Feeds:
        batches = await self._exit.enter_async_context(tail(self._log))
        self._task = asyncio.create_task(self._follow(batches))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for feed in self._feeds.values():
            feed.changes.close()
        self.records.close()
        await self._exit.aclose()

    @property
    def watched(self) -> int:
        """How many jobs are watched."""
        return len(self._watchers)

    @property
    def is_following(self) -> bool:
        """Whether what happens is read."""
        return self._task is not None and not self._task.done()

    @contextlib.asynccontextmanager
    async def open(self, job_id: str) -> AsyncIterator[JobFeed]:
        """Yield the feed of a job, which has read all of the job's present history.

        Raises JobUnknown, a leaf of Unavailable, or a kind of CorruptLog.
        """
        self._watchers[job_id] = self._watchers.get(job_id, 0) + 1
        try:
            async with self._opening.setdefault(job_id, asyncio.Lock()):
                feed = self._feeds.get(job_id) or await self._read(job_id)
            yield feed
        finally:
            self._watchers[job_id] -= 1
            if not self._watchers[job_id]:
                for kept in (self._watchers, self._opening, self._feeds):
                    kept.pop(job_id, None)

    async def _read(self, job_id: str) -> JobFeed:
        found = await current(self._log, job_id)
        feed = JobFeed(await self._log.opened(found, job_id))
        self._feeds[job_id] = feed
        # What was told while it was read may be newer than what was read.
        await self._catch_up(feed)
        return feed

    async def _follow(self, batches: AsyncIterator[Sequence[Recorded]]) -> None:
        async for batch in batches:
            for record in await self._opened(batch):
                self.records.add(record)
                feed = self._feeds.get(record.job_id)
                if feed is not None and not feed.changes.is_closed:
                    await self._apply(feed, record)

    async def _opened(self, batch: Sequence[Recorded]) -> Sequence[Recorded]:
        try:
            return await self._log.opened_records(batch)
        except EverfoldError as error:
            logger.warning("feed_sealed why=%r", str(error))
            return batch

    async def _apply(self, feed: JobFeed, record: Recorded) -> None:
        if record.seq > feed.job.seq + 1:
            await self._catch_up(feed)
        elif record.seq == feed.job.seq + 1 and not isinstance(record.event, Unreadable):
            feed.apply(record)

    async def _catch_up(self, feed: JobFeed) -> None:
        """Fold what the log has beyond the feed's state."""
        try:
            events = await job_events(self._log, feed.job.job_id, feed.job.seq)
            for record in await self._log.opened_records(events):
                if record.seq == feed.job.seq + 1 and not isinstance(record.event, Unreadable):
                    feed.apply(record)
        except EverfoldError as error:
            logger.warning("feed_behind job=%s why=%r", feed.job.job_id, str(error))
