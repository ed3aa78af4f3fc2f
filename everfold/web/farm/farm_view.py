"""Keeps the state of a farm and its sample as new as the log: follows, samples, compares.

Rule: whatever cannot be read is tried again, and what was known stays. Events that were missed are
read in the log; a job that is not known is read when something happens to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from everfold.client import Everfold
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_message import LiveEntry
from everfold.streams.reading.reader import last_entry_ids, merged, partition_events
from everfold.web.farm.farm_state import FarmState, unknown_of
from everfold.web.farm.members import FarmSample
from everfold.web.farm.reading import held_jobs, jobs_at_least, last_seqs
from everfold.web.farm.sampling import FarmSampling
from everfold.web.feeds.feeds import Feeds
from everfold.web.feeds.ring import Overtaken
from everfold.web.own.events.cursors import Cursors

logger = get_logger("everfold.web")

SAMPLE_EVERY_S = 5.1
"""A little longer than `Sampled` keeps what it has read."""
SAMPLE_LEAST_S = 1.0
"""The same where somebody asks for it."""
CHECK_EVERY_S = 30.0
"""How often the jobs that runners hold are compared with the log."""
AGAIN_S = 1.0
PICTURED = 50
"""So many jobs at most run while runners are asked for their previews."""
FOLDED_AT_ONCE = 500
"""Events that are folded before others have a turn."""


class FarmView:
    """The farm as one gateway sees it, from `run` on."""

    def __init__(
        self,
        everfold: Everfold,
        feeds: Feeds,
        sampling: FarmSampling,
        changed: Callable[[], None],
        sampled: Callable[[], object],
    ) -> None:
        """`changed` is called when there is something to tell, `sampled` after each sample."""
        self._everfold, self._log, self._records = everfold, everfold.log, feeds.records
        self._feeds, self._looking = feeds, contextlib.ExitStack()
        self._sampling, self._changed, self._sampled = sampling, changed, sampled
        self.state = FarmState()
        self.sample: FarmSample | None = None
        self.cursors: Cursors | None = None
        """Up to where the log was folded."""
        self.stale_since_ms = 0
        """Since when the farm cannot be read, server time; 0 while it can."""
        self.ready = asyncio.Event()
        """Whether there is something to show."""
        self._is_looking = False
        self._read_at_s = 0.0
        self._sample_due = asyncio.Event()

    @property
    def now_ms(self) -> int:
        """About the server's time, Unix ms; 0 before the first sample."""
        if self.sample is None:
            return 0
        return self.sample.now_ms + round((steady_s() - self._read_at_s) * 1000)

    def sample_soon(self) -> None:
        """Look at the farm now: somebody has changed what no event tells."""
        self._sample_due.set()

    async def run(self) -> None:
        """Follow the farm until cancelled."""
        self._feeds.picture_listeners.append(self._note_picture)
        try:
            async with asyncio.TaskGroup() as tasks:
                for loop in (self._follow, self._keep_sampling, self._keep_checking):
                    tasks.create_task(_ever_again(loop))
        finally:
            self._feeds.picture_listeners.remove(self._note_picture)
            self._looking.close()

    def _note_picture(self, entry: LiveEntry) -> None:
        if self.state.pictures.note(entry.job_id, entry.attempt, entry.time_ms):
            self._changed()

    def _look(self) -> None:
        """Have runners pass on what servers say, while few jobs run: each picture is a write."""
        is_wanted = 0 < len(self.state.held) <= PICTURED
        if is_wanted and not self._is_looking:
            self._looking.enter_context(self._feeds.looking())
        elif not is_wanted and self._is_looking:
            self._looking.close()
        self._is_looking = is_wanted

    async def _follow(self) -> None:
        if self.cursors is None:
            place = self._records.end  # before the log is asked: what comes meanwhile is there
            cursors = Cursors(await last_entry_ids(self._log))
            for job in await held_jobs(self._everfold):
                self.state.put(job)
            self.cursors = cursors
            self._note_ready()
        else:
            place = self._records.end
            await self._fold_log(self.cursors)
        while True:
            try:
                found = await self._records.after(place)
            except Overtaken:
                place = self._records.end
                await self._fold_log(self.cursors)
                continue
            if not found:
                await asyncio.get_running_loop().create_future()  # the gateway stops
            place += len(found)
            await self._fold(found, self.cursors)

    async def _fold_log(self, cursors: Cursors) -> None:
        """Fold what the log has after the cursors."""
        readers = [partition_events(self._log, p, after) for p, after in cursors.entry_ids.items()]
        page = list[Recorded]()
        async for record in merged(readers):
            page.append(record)
            if len(page) == FOLDED_AT_ONCE:
                await self._fold(await self._log.opened_records(page), cursors)
                page = []
        await self._fold(await self._log.opened_records(page), cursors)

    async def _fold(self, records: Sequence[Recorded], cursors: Cursors) -> None:
        for first in range(0, len(records), FOLDED_AT_ONCE):
            some = records[first : first + FOLDED_AT_ONCE]
            unknown = unknown_of(self.state, some)
            for job in await jobs_at_least(self._log, unknown) if unknown else ():
                if job.seq > unknown[job.job_id]:
                    self.state.learn(job, [one for one in some if one.job_id == job.job_id])
                else:
                    self.state.put(job)
            for record in some:
                self.state.add(record)
                if record.job_id:
                    cursors.takes(self._log.keys.partition_of(record.job_id), record.entry_id)
            self._look()
            self._changed()
            await asyncio.sleep(0)

    async def _keep_sampling(self) -> None:
        while True:
            self._sample_due.clear()
            try:
                self.sample = await self._sampling.read()
            except EverfoldError:
                self.stale_since_ms = self.stale_since_ms or self.now_ms
                self._changed()
                raise
            self._read_at_s, self.stale_since_ms = steady_s(), 0
            self.state.pictures.forget_old(self.now_ms)
            self._look()
            self._note_ready()
            self._sampled()
            self._changed()
            # What was asked for meanwhile may be newer than what was read.
            await asyncio.sleep(SAMPLE_LEAST_S)
            try:
                async with asyncio.timeout(SAMPLE_EVERY_S - SAMPLE_LEAST_S):
                    await self._sample_due.wait()
            except TimeoutError:
                continue

    def _note_ready(self) -> None:
        if self.sample is not None and self.cursors is not None:
            self.ready.set()

    async def _keep_checking(self) -> None:
        """Find what was not told, as where the server has lost its newest writes."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            before = dict(self.state.held)
            seqs = await last_seqs(self._log, list(before))
            wrong = {
                job_id: seq
                for job_id, seq in seqs.items()
                if before[job_id].seq != seq and self.state.held.get(job_id) is before[job_id]
            }
            for job_id in [one for one, seq in wrong.items() if not seq]:
                self.state.forget(job_id)
            there = {job_id: seq for job_id, seq in wrong.items() if seq}
            for job in await jobs_at_least(self._log, there) if there else ():
                self.state.learn(job)
            if wrong:
                self._changed()


async def _ever_again(loop: Callable[[], object]) -> None:
    """Run a loop that ends by errors of the server only, again and again."""
    said = ""
    while True:
        try:
            await loop()  # type: ignore[misc]
        except EverfoldError as error:
            if said != str(error):
                logger.warning("farm_waits why=%r", str(error))
            said = str(error)
        await asyncio.sleep(AGAIN_S)
