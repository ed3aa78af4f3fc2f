"""Tells all who look at the farm what changes: one view of it for all of them.

Rule: it works while somebody looks, and for UNWATCHED_S after. The first change after a silence is
told at once; after that jobs once within JOBS_EVERY_S, and all else once within FLUSH_EVERY_S.
"""

from __future__ import annotations

import asyncio

import msgspec

from everfold.client import Everfold
from everfold.metrics.sampled import Sampled
from everfold.projector.job.job import Job
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError, ServerUnreachable
from everfold.web.farm.audience import MANY_EVERY_MS, Audience
from everfold.web.farm.charts.charts import Charts
from everfold.web.farm.farm_view import FarmView
from everfold.web.farm.mailbox import Mailbox
from everfold.web.farm.members import alarms_of
from everfold.web.farm.reading import open_jobs_of
from everfold.web.farm.reasons import reasons_of_jobs
from everfold.web.farm.sampling import FarmSampling
from everfold.web.farm.summaries import summary_of
from everfold.web.farm.wake_up import WakeUp
from everfold.web.feeds.feeds import Feeds
from everfold.web.own.doctor.examined import Examinations

logger = get_logger("everfold.web")

JOBS_EVERY_S = 0.05
FLUSH_EVERY_S = 0.2
CHART_EVERY_S = 10.0
ALARM_EVERY_S = 60.0
UNWATCHED_S = 60.0
KNOWN_WITHIN_S = 20.0
"""How long one who looks waits for the first sample."""

_encode = msgspec.json.Encoder().encode


class FarmFeed:
    """All who look at the farm through one gateway."""

    def __init__(
        self,
        everfold: Everfold,
        feeds: Feeds,
        sampled: Sampled,
        charts: Charts,
        examinations: Examinations,
    ) -> None:
        self._everfold, self._feeds, self._charts = everfold, feeds, charts
        self._examinations = examinations
        self._sampling = FarmSampling(everfold, sampled)
        self._audiences: dict[str | None, Audience] = {}
        self._others: dict[str, bytes] = {}
        self._view: FarmView | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._due = asyncio.Event()
        self._flushed_at_s = 0.0
        self._next = WakeUp(self._due.set)
        """Lets be told what waits for its time."""
        self._end: asyncio.TimerHandle | None = None

    @property
    def view(self) -> FarmView | None:
        """What is known of the farm; None while nobody looks."""
        return self._view

    def sample_soon(self) -> None:
        """Look at the farm now: somebody has changed what no event tells."""
        if self._view is not None:
            self._view.sample_soon()

    def show(self, name: str, value: object) -> None:
        """Show a member that is made elsewhere to those who see all."""
        self._others[name] = _encode(value)
        self._due.set()

    async def join(self, user: str | None) -> Mailbox:
        """Return the mailbox of one who looks on, with the whole farm in it once it is known.

        Whoever has joined leaves. Raises a leaf of Unavailable, with nothing joined.
        """
        view = self._begin()
        box = Mailbox(user)
        audience = self._audiences.setdefault(user, Audience(user))
        audience.boxes.add(box)
        try:
            async with asyncio.timeout(KNOWN_WITHIN_S):
                await view.ready.wait()
            if user is not None and not audience.own.is_loaded:
                jobs, is_cut = await open_jobs_of(self._everfold, user)
                audience.own.load(jobs, is_cut=is_cut)
            self._flush()
            box.put(audience.shown, {}, str(view.cursors))
        except TimeoutError as error:
            self.leave(box)
            raise ServerUnreachable("the farm could not be read in time") from error
        except BaseException:
            self.leave(box)
            raise
        return box

    def leave(self, box: Mailbox) -> None:
        """Tell this mailbox no more."""
        audience = self._audiences.get(box.user)
        if audience is not None:
            audience.boxes.discard(box)
            if not audience.boxes:
                del self._audiences[box.user]
        if not self._audiences and self._view is not None and self._end is None:
            self._end = asyncio.get_running_loop().call_later(UNWATCHED_S, self._stop)

    async def aclose(self) -> None:
        """End what runs."""
        tasks = self._tasks
        self._stop()
        await end_all(tasks)

    def _begin(self) -> FarmView:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._view is None:
            self._view = FarmView(
                self._everfold, self._feeds, self._sampling, self._due.set, self._note_sample
            )
            running = (
                self._view.run(),
                self._keep_flushing(),
                self._keep_charting(),
                self._keep_alarming(),
            )
            self._tasks = [asyncio.create_task(one) for one in running]
        return self._view

    def _stop(self) -> None:
        if self._end is not None:
            self._end.cancel()
        self._next.cancel()
        for task in self._tasks:
            task.cancel()
        self._end, self._view, self._tasks = None, None, []
        self._others.clear()

    async def _keep_flushing(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            left_s = self._flushed_at_s + FLUSH_EVERY_S - steady_s()
            try:
                if left_s <= 0:
                    self._flush()
                else:
                    self._tell_jobs()
                    self._next.within(left_s)
            except Exception:
                # What one change does wrong must not silence the farm.
                logger.exception("farm_not_told")
            await asyncio.sleep(JOBS_EVERY_S)

    async def _keep_charting(self) -> None:
        self._charts.begin()
        while True:
            if self._view is not None and self._view.now_ms and None in self._audiences:
                self.show("recent", self._charts.recent(self._view.now_ms))
            await asyncio.sleep(CHART_EVERY_S if "recent" in self._others else FLUSH_EVERY_S)

    async def _keep_alarming(self) -> None:
        while True:
            try:
                if None in self._audiences:
                    found = (await self._examinations.get()).findings
                    self.show("alarms", alarms_of(found))
            except EverfoldError as error:
                logger.debug("alarms_not_read why=%r", str(error))
            await asyncio.sleep(ALARM_EVERY_S)

    def _flush(self) -> None:
        """Tell all that has changed."""
        view = self._view
        if view is None or view.sample is None or view.cursors is None:
            return
        self._flushed_at_s = steady_s()
        others = {**self._others, "stale_since_ms": _encode(view.stale_since_ms)}
        changed, at_ms, cursor = self._changed(view), view.now_ms, str(view.cursors)
        for audience in self._audiences.values():
            audience.tell(view.state, view.sample, others, changed, at_ms, cursor)
        if any(audience.is_due for audience in self._audiences.values()):
            self._next.within(MANY_EVERY_MS / 1000)

    def _tell_jobs(self) -> None:
        """Tell which jobs have changed: what else there is costs more, and can wait."""
        view = self._view
        if view is not None and view.sample is not None and view.cursors is not None:
            changed, cursor = self._changed(view), str(view.cursors)
            for audience in self._audiences.values():
                audience.tell_jobs(changed, cursor)

    def _changed(self, view: FarmView) -> list[tuple[Job, bytes]]:
        return [(job, _encode(summary_of(job))) for job in view.state.take_changed()]

    def _note_sample(self) -> None:
        for audience in self._audiences.values():
            if audience.user is not None and audience.own.is_loaded:
                self._tasks = [task for task in self._tasks if not task.done()]
                self._tasks.append(asyncio.create_task(self._ask_reasons(audience)))

    async def _ask_reasons(self, audience: Audience) -> None:
        """Ask why the jobs of one user wait."""
        try:
            groups = audience.own.waiting()
            audience.reasons = await reasons_of_jobs(self._everfold, groups)
            self._due.set()
        except EverfoldError as error:
            logger.debug("reasons_not_read why=%r", str(error))
