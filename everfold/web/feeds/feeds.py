"""Follows the log once per gateway, and tells each job's watchers what happens to their job.

Rule: a job is read and folded once for all its watchers. Nothing is lost between the state that a
watcher begins with and the changes that follow, and a gap in what was followed is read again. What
backends say meanwhile comes in the order of both, may be missing, and changes no state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TypeVar

from everfold.projector.job.evolve import evolve
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_message import LiveEntry, Preview, PreviewNotice
from everfold.streams.live.live_stream import LISTEN_EVERY_S, listen, newest_previews
from everfold.streams.live.live_tail import Batch, tail_with_live
from everfold.streams.reading.reader import job_events
from everfold.web.feeds.happening import Change, Happening
from everfold.web.feeds.ring import Ring

logger = get_logger("everfold.web")

T = TypeVar("T")

CHANGES_KEPT = 256
"""Changes of one job by which a watcher may be late: more than a minute of them."""
RECORDS_KEPT = 4096
"""Events of the namespace by which one who follows all of them may be late."""
HEARD_KEPT = 256
"""Messages of one job's backend by which a watcher may be late."""


class JobFeed:
    """One job as it is now, and what happens to it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.changes = Ring[Change](CHANGES_KEPT)
        self.heard = Ring[LiveEntry](HEARD_KEPT)
        self.previews = Ring[Preview](1)
        self.listeners: list[Callable[[Happening], None]] = []
        """Each is called at once with whatever happens."""
        if job.is_terminal:
            self._close()

    def apply(self, record: Recorded) -> None:
        """Fold the next event."""
        self.job = evolve(self.job, record)
        change = Change(self.job, record)
        self.changes.add(change)
        self._tell(change)
        if self.job.is_terminal:
            self._close()

    def hear(self, said: LiveEntry | Preview) -> None:
        """Pass on what the backend says of the present attempt, or of the next one."""
        if isinstance(said, Preview):
            self.previews.add(said)
        else:
            self.heard.add(said)
        self._tell(said)

    def _tell(self, happening: Happening) -> None:
        for listener in list(self.listeners):
            _told(listener, happening)

    def close(self) -> None:
        """Let all watchers end."""
        self._close()

    def _close(self) -> None:
        self.changes.close()
        self.heard.close()
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
        self.listeners: list[Callable[[Recorded], None]] = []
        """Each is called with every event, before the feed of its job has it."""
        self._lookers = 0
        self._looked_at = asyncio.Event()
        self._exit = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Feeds:
        batches = await self._exit.enter_async_context(tail_with_live(self._log))
        self._tasks = [asyncio.create_task(self._follow(batches))]
        self._tasks.append(asyncio.create_task(self._keep_listening()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for feed in self._feeds.values():
            feed.close()
        self.records.close()
        await self._exit.aclose()

    @property
    def watched(self) -> int:
        """How many jobs are watched."""
        return len(self._watchers)

    @property
    def is_following(self) -> bool:
        """Whether what happens is read."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @contextlib.asynccontextmanager
    async def open(self, job_id: str) -> AsyncIterator[JobFeed]:
        """Yield the feed of a job, which has read all of the job's present history.

        Raises JobUnknown, a leaf of Unavailable, or a kind of CorruptLog.
        """
        feed = await self.hold(job_id)
        try:
            yield feed
        finally:
            self.release(job_id)

    async def hold(self, job_id: str) -> JobFeed:
        """Return what `open` yields, and keep it until `release` was called as often."""
        self._watch(job_id)
        try:
            async with self._opening.setdefault(job_id, asyncio.Lock()):
                return self._feeds.get(job_id) or await self._read(job_id)
        except BaseException:
            self.release(job_id)
            raise

    def begin(self, record: Recorded) -> JobFeed:
        """Return the feed of a job by its first event, kept until `release`: nothing is read."""
        self._watch(record.job_id)
        feed = self._feeds.get(record.job_id)
        if feed is None:
            job = fold([record], Job(job_id=record.job_id))
            feed = self._feeds[record.job_id] = JobFeed(job)
        return feed

    def _watch(self, job_id: str) -> None:
        self._watchers[job_id] = self._watchers.get(job_id, 0) + 1
        self._looked_at.set()

    def release(self, job_id: str) -> None:
        """Let a feed go that was held."""
        self._watchers[job_id] -= 1
        if not self._watchers[job_id]:
            for kept in (self._watchers, self._opening, self._feeds):
                kept.pop(job_id, None)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Have runners pass on what backends say, also while no feed is open yet."""
        self._lookers += 1
        self._looked_at.set()
        try:
            yield
        finally:
            self._lookers -= 1

    async def _keep_listening(self) -> None:
        """Have runners pass on what they hear while anybody looks."""
        is_new = True
        while True:
            if not self._watchers and not self._lookers:
                is_new = True
                self._looked_at.clear()
                await self._looked_at.wait()
            try:
                await listen(self._log, now=is_new)
                is_new = False
            except EverfoldError as error:
                logger.debug("feeds_do_not_listen why=%r", str(error))
            await asyncio.sleep(LISTEN_EVERY_S)

    async def _read(self, job_id: str) -> JobFeed:
        found = await current(self._log, job_id)
        feed = JobFeed(await self._log.opened(found, job_id))
        self._feeds[job_id] = feed
        # What was told while it was read may be newer than what was read.
        await self._catch_up(feed)
        return feed

    async def _follow(self, batches: AsyncIterator[Batch]) -> None:
        async for batch in batches:
            await self._hear(batch.live)
            for record in await self._opened(batch.records):
                self.records.add(record)
                for listener in self.listeners:
                    _told(listener, record)
                feed = self._feeds.get(record.job_id)
                if feed is not None and not feed.changes.is_closed:
                    await self._apply(feed, record)

    async def _hear(self, entries: Sequence[LiveEntry]) -> None:
        """Pass on what backends said of jobs that are watched."""
        watched = [(feed, one) for one in entries if (feed := self._heard_by(one)) is not None]
        noticed = {e.job_id for _, e in watched if isinstance(e.message, PreviewNotice)}
        previews = await self._previews(noticed)
        for feed, entry in watched:
            if not isinstance(entry.message, PreviewNotice):
                feed.hear(entry)
            elif (preview := previews.pop(entry.job_id, None)) is not None:
                feed.hear(preview)

    def _heard_by(self, entry: LiveEntry) -> JobFeed | None:
        feed = self._feeds.get(entry.job_id)
        is_old = feed is None or feed.job.is_terminal or entry.attempt < feed.job.attempt
        return None if is_old else feed

    async def _previews(self, job_ids: set[str]) -> dict[str, Preview]:
        try:
            return await newest_previews(self._log, job_ids) if job_ids else {}
        except EverfoldError as error:
            logger.debug("previews_missed why=%r", str(error))
            return {}

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


def _told(listener: Callable[[T], None], item: T) -> None:
    """Tell one listener; what it does wrong holds up nobody else."""
    try:
        listener(item)
    except Exception:
        logger.exception("feed_listener_failed")
