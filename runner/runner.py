"""A runner: the list of its actors, in one task group.

LeaseBook renews leases from a thread of its own, Fleet looks at the backends, Wake listens for
hints, Taker takes waiting jobs, Sweeper takes over orphaned ones, Promoter moves those whose time
has come, and one JobRun carries each job in hand.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED

from everfold.runner.backend import Backend
from everfold.runner.claiming.claimer import Taker
from everfold.runner.claiming.promoter import Promoter
from everfold.runner.claiming.sweeper import Sweeper
from everfold.runner.claiming.wake import Wake
from everfold.runner.comfyui.backend import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.execution.fleet import Fleet, Place
from everfold.runner.execution.job_run import JobRun
from everfold.runner.execution.lease_renewer import LeaseBook
from everfold.runner.execution.lost_log import log_went_back, put_back
from everfold.runner.execution.shared import Surroundings
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import EverfoldError, JobClosed, JobUnknown, LeaseLost
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.registry import Entry, enroll, strike_off
from everfold.streams.retention.lost_writes import ServerWatch

logger = logging.getLogger("everfold.runner")

OPENING_LIMIT = 8
"""Job runs that read their job at the same time."""

HAND_OVER_S = 3.0
"""How long handing over may take once the drain deadline has passed."""


class Runner:
    """Works on jobs of `log`'s namespace until its `run` is cancelled or drained.

    `log` must be opened with the runner's name as actor: its connections are its sign of life.
    """

    def __init__(
        self,
        log: Log,
        backends: Sequence[Backend],
        config: RunnerConfig,
        *,
        make_backend: Callable[[str], Backend] = ComfyBackend,
    ) -> None:
        if log.actor != config.name:
            raise ValueError("open the log with actor=config.name: it is the runner's sign of life")
        leases = LeaseBook(log, config)
        fleet = Fleet(backends, config.slots, make_backend)
        dispatch = Dispatch(log, config.name)
        opening = anyio.Semaphore(OPENING_LIMIT)
        server = ServerWatch(log)
        self._around = Surroundings(log, dispatch, leases, fleet, config, server, opening)
        self._taker = Taker(self._around, self._start)
        self._sweeper = Sweeper(self._around, self._start)
        self._promoter = Promoter(self._around)
        on: dict[str, Callable[[str], None]] = {
            "dispatch": self._taker.wake,
            "release": self._sweeper.wake,
            "cancel": self._call_attention,
        }
        self._wake = Wake(log, on)
        self._runs: dict[str, JobRun] = {}
        self._jobs: anyio.abc.TaskGroup | None = None
        self._none_left = anyio.Event()
        self._draining = anyio.Event()
        self._drain_s = config.drain_s

    @property
    def jobs_in_hand(self) -> int:
        return len(self._runs)

    def drain(self, within_s: float | None = None) -> None:
        """Take nothing new; finish what runs, hand over what does not finish in time."""
        if within_s is not None:
            self._drain_s = within_s
        self._draining.set()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until drained or cancelled. Raises nothing for trouble of the server: it waits."""
        async with anyio.create_task_group() as actors:
            actors.start_soon(self._around.leases.run)
            actors.start_soon(self._around.fleet.run)
            async with anyio.create_task_group() as self._jobs:
                async with anyio.create_task_group() as takers:
                    for actor in (self._wake, self._taker, self._sweeper, self._promoter):
                        takers.start_soon(actor.run)
                    await self._enroll()
                    task_status.started()
                    await self._draining.wait()
                    takers.cancel_scope.cancel()
                await self._finish_or_hand_over()
            await self._leave()
            actors.cancel_scope.cancel()

    async def _enroll(self) -> None:
        config = self._around.config
        entry = Entry(
            runner=config.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=config.queues,
            backends=tuple(berth.backend.name for berth in self._around.fleet.berths),
            since_ms=time.time_ns() // 1_000_000,
        )
        await enroll(self._around.log, entry)

    async def _leave(self) -> None:
        await self._around.fleet.aclose()
        try:
            await strike_off(self._around.log, self._around.config.name)
        except EverfoldError:
            return  # a survivor strikes it off

    async def _finish_or_hand_over(self) -> None:
        with anyio.move_on_after(self._drain_s):
            await self._until_none_left()
        for run in list(self._runs.values()):
            run.hand_over()
        with anyio.move_on_after(HAND_OVER_S):
            await self._until_none_left()
        if self._jobs is not None:
            self._jobs.cancel_scope.cancel()

    async def _until_none_left(self) -> None:
        while self._runs:
            self._none_left = anyio.Event()
            await self._none_left.wait()

    def _start(self, lease: Lease, asked_at_s: float, place: Place | None) -> None:
        """Begin the run of a job that was just leased."""
        earlier = self._runs.get(lease.job_id)
        if earlier is not None and earlier.lease.epoch == lease.epoch:
            if place is not None:
                self._around.fleet.leave(place)
            return  # begun already: an answer that was late, and a search for lost leases
        if earlier is not None:
            earlier.lose(lease.epoch)  # of two leases of ours on one job only the newest counts
        run = JobRun(self._around, lease, place)
        self._runs[lease.job_id] = run
        self._around.leases.add(lease, asked_at_s, run.lose, run.attention.call)
        assert self._jobs is not None
        self._jobs.start_soon(self._carry, run)

    async def _carry(self, run: JobRun) -> None:
        """Await one job run; whatever goes wrong in it stays in it."""
        try:
            await run.run()
        except (LeaseLost, JobClosed, JobUnknown) as over:
            logger.info("job_run_over job=%s why=%r", run.lease.job_id, str(over))
            run.log_went_back = log_went_back(over, run.lease)
        except Exception:
            logger.exception("job_run_broken job=%s", run.lease.job_id)
            await self._forsake(run)
        finally:
            if run.log_went_back:
                await self._put_back(run)
            if self._runs.get(run.lease.job_id) is run:
                del self._runs[run.lease.job_id]
            if not self._runs:
                self._none_left.set()

    async def _forsake(self, run: JobRun) -> None:
        """Leave a job that broke us to the others, and take it again only if none is there.

        Its lease is not renewed any more; either way it counts as a crash, and a job that
        breaks every runner ends as poisoned.
        """
        with anyio.move_on_after(2 * self._around.config.lease_ttl_s):
            await self._draining.wait()
        await run.forsake()

    async def _put_back(self, run: JobRun) -> None:
        try:
            await put_back(self._around.log, run.job, run.graph)
        except EverfoldError as error:
            logger.warning("not_put_back job=%s why=%r", run.lease.job_id, str(error))

    def _call_attention(self, job_id: str) -> None:
        run = self._runs.get(job_id)
        if run is not None:
            run.attention.call()
