"""Follows the log once per gateway, and tells each job's watchers what happens to their job.

Rule: a job is read and folded once for all its watchers. Nothing is lost between the state that a
watcher begins with and the changes that follow, and a gap in what was followed is read again. What
backends say meanwhile comes in the order of both, may be missing, and changes no state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import cast

from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.errors import EverfoldError, JobUnknown
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_message import LiveEntry, Preview, PreviewNotice
from everfold.streams.live.live_stream import LISTEN_EVERY_S, listen, newest_previews
from everfold.streams.live.live_tail import Batch, tail_with_live
from everfold.streams.redis.redis_errors import commands
from everfold.web.feeds.job_feed import JobFeed, told
from everfold.web.feeds.missed import can_follow, missed, newest
from everfold.web.feeds.ring import Ring

logger = get_logger("everfold.web")

RECORDS_KEPT = 4096
"""Events of the namespace by which one who follows all of them may be late."""
RECORDS_KEPT_BYTES = 32 * 2**20
"""The same in bytes of JSON: an event may have a MiB."""
LOOK_EVERY_S = 5.0
"""What is not told within twice this time is looked for."""
LOOK_AT_ONCE = 500
"""Jobs of one trip to Redis."""
GONE = 2**53
"""Stands for the number of the last event of a job that Redis does not know."""


class Feeds:
    """The feeds of one gateway. Enter it before use."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._feeds: dict[str, JobFeed] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._watchers: dict[str, int] = {}
        self.records = Ring[Recorded](RECORDS_KEPT, RECORDS_KEPT_BYTES, _size_of)
        """Every event of the namespace, readable ones and others, in the order of each job."""
        self.listeners: list[Callable[[Recorded], None]] = []
        """Each is called with every event, before the feed of its job has it."""
        self.picture_listeners: list[Callable[[LiveEntry], None]] = []
        """Each is called when there is a newer preview of any job."""
        self._lookers = 0
        self._looked_at = asyncio.Event()
        self._exit = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Feeds:
        batches = await self._exit.enter_async_context(tail_with_live(self._log))
        self._tasks = [asyncio.create_task(self._follow(batches))]
        self._tasks.append(asyncio.create_task(self._keep_listening()))
        self._tasks.append(asyncio.create_task(self._look_again()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await end_all(self._tasks)
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
        found = await self._log.opened(await current(self._log, job_id), job_id)
        # It may have been begun meanwhile.
        feed = self._feeds.setdefault(job_id, JobFeed(found))
        # What was told while it was read may be newer than what was read.
        await self._catch_up(feed)
        return feed

    async def _follow(self, batches: AsyncIterator[Batch]) -> None:
        async for batch in batches:
            await self._hear(batch.live)
            for record in await self._opened(batch.records):
                self.records.add(record)
                for listener in self.listeners:
                    told(listener, record)
                feed = self._feeds.get(record.job_id)
                if feed is not None and not feed.changes.is_closed:
                    await self._apply(feed, record)

    async def _hear(self, entries: Sequence[LiveEntry]) -> None:
        """Pass on what backends said of jobs that are watched, and of which there are pictures."""
        for entry in entries if self.picture_listeners else ():
            if isinstance(entry.message, PreviewNotice):
                for listener in self.picture_listeners:
                    told(listener, entry)
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
        if can_follow(record, feed.job):
            feed.apply(record)
        elif record.seq > feed.job.seq:
            await self._catch_up(feed)

    async def _catch_up(self, feed: JobFeed) -> None:
        """Go on to what the log has beyond the feed's state."""
        if feed.changes.is_closed:
            return
        try:
            found = await missed(self._log, feed.job)
            for record in found.records:
                if can_follow(record, feed.job):
                    feed.apply(record)
            if found.is_cut or (found.records and found.records[-1].seq > feed.job.seq):
                job, last = await newest(self._log, feed.job, found.records)
                if job.seq > feed.job.seq:
                    feed.move(job, last)
        except JobUnknown:
            feed.close()
        except EverfoldError as error:
            logger.warning("feed_behind job=%s why=%r", feed.job.job_id, str(error))

    async def _look_again(self) -> None:
        """Find what was not told, as where the log could not be read, or was trimmed meanwhile."""
        expected = dict[str, int]()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            feeds = [one for one in self._feeds.values() if not one.changes.is_closed]
            for feed in feeds:
                if feed.job.seq < expected.get(feed.job.job_id, 0):
                    await self._catch_up(feed)
            try:
                expected = await self._last_seqs([feed.job.job_id for feed in feeds])
            except EverfoldError as error:
                logger.debug("feeds_not_looked_at why=%r", str(error))

    async def _last_seqs(self, job_ids: Sequence[str]) -> dict[str, int]:
        found = dict[str, int]()
        for first in range(0, len(job_ids), LOOK_AT_ONCE):
            some = job_ids[first : first + LOOK_AT_ONCE]
            asked = [("HGET", self._log.keys.head(job_id), "seq") for job_id in some]
            seqs = cast("list[bytes | None]", await commands(self._log.redis, asked))
            found |= {job: int(seq or GONE) for job, seq in zip(some, seqs, strict=True)}
        return found


def _size_of(record: Recorded) -> int:
    return len(record.payload)
