"""A runner: the list of its actors, in one task group.

LeaseRenewer renews leases from a thread of its own, Fleet looks at the backends, Wake listens for
hints, Claimer takes waiting jobs, Sweeper takes over orphaned ones, Promoter moves those whose time
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
from everfold.runner.claiming.claimer import Claimer
from everfold.runner.claiming.promoter import Promoter
from everfold.runner.claiming.sweeper import Sweeper
from everfold.runner.claiming.wake import Wake
from everfold.runner.comfyui.backend import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.execution.fleet import Fleet, Place
from everfold.runner.execution.job_run import JobRun
from everfold.runner.execution.lease_renewer import LeaseRenewer
from everfold.runner.execution.lost_log import log_went_back, put_back
from everfold.runner.execution.shared import Shared
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import EverfoldError, JobClosed, JobUnknown, LeaseLost
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.registry import RunnerEntry, deregister_runner, register_runner
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
        leases = LeaseRenewer(log, config)
        fleet = Fleet(backends, config.slots, make_backend)
        dispatch = Dispatch(log, config.name)
        opening = anyio.Semaphore(OPENING_LIMIT)
        server = ServerWatch(log)
        self._shared = Shared(log, dispatch, leases, fleet, config, server, opening)
        self._claimer = Claimer(self._shared, self._start)
        self._sweeper = Sweeper(self._shared, self._start)
        self._promoter = Promoter(self._shared)
        on: dict[str, Callable[[str], None]] = {
            "dispatch": self._claimer.wake,
            "release": self._sweeper.wake,
            "cancel": self._wake_job_run,
        }
        self._wake = Wake(log, on)
        self._runs: dict[str, JobRun] = {}
        self._jobs: anyio.abc.TaskGroup | None = None
        self._none_left = anyio.Event()
        self._draining = anyio.Event()
        self._drain_s = config.drain_s

    @property
    def jobs_in_flight(self) -> int:
        return len(self._runs)

    def drain(self, within_s: float | None = None) -> None:
        """Take nothing new; finish what runs, hand over what does not finish in time."""
        if within_s is not None:
            self._drain_s = within_s
        self._draining.set()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until drained or cancelled. Raises nothing for trouble of the server: it waits."""
        async with anyio.create_task_group() as actors:
            actors.start_soon(self._shared.leases.run)
            actors.start_soon(self._shared.fleet.run)
            async with anyio.create_task_group() as self._jobs:
                async with anyio.create_task_group() as takers:
                    for actor in (self._wake, self._claimer, self._sweeper, self._promoter):
                        takers.start_soon(actor.run)
                    await self._register()
                    task_status.started()
                    await self._draining.wait()
                    takers.cancel_scope.cancel()
                await self._finish_or_hand_over()
            await self._leave()
            actors.cancel_scope.cancel()

    async def _register(self) -> None:
        config = self._shared.config
        entry = RunnerEntry(
            runner=config.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=config.queues,
            backends=tuple(berth.backend.name for berth in self._shared.fleet.berths),
            since_ms=time.time_ns() // 1_000_000,
        )
        await register_runner(self._shared.log, entry)

    async def _leave(self) -> None:
        await self._shared.fleet.aclose()
        try:
            await deregister_runner(self._shared.log, self._shared.config.name)
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
                self._shared.fleet.leave(place)
            return  # begun already: an answer that was late, and a search for lost leases
        if earlier is not None:
            earlier.lose(lease.epoch)  # of two leases of ours on one job only the newest counts
        run = JobRun(self._shared, lease, place)
        self._runs[lease.job_id] = run
        self._shared.leases.add(lease, asked_at_s, run.lose, run.wakeup.set)
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
            await self._abandon(run)
        finally:
            if run.log_went_back:
                await self._put_back(run)
            if self._runs.get(run.lease.job_id) is run:
                del self._runs[run.lease.job_id]
            if not self._runs:
                self._none_left.set()

    async def _abandon(self, run: JobRun) -> None:
        """Leave a job that broke us to the others, and take it again only if none is there.

        Its lease is not renewed any more; either way it counts as a crash, and a job that
        breaks every runner ends as poisoned.
        """
        with anyio.move_on_after(2 * self._shared.config.lease_ttl_s):
            await self._draining.wait()
        await run.abandon()

    async def _put_back(self, run: JobRun) -> None:
        try:
            await put_back(self._shared.log, run.job, run.graph)
        except EverfoldError as error:
            logger.warning("not_put_back job=%s why=%r", run.lease.job_id, str(error))

    def _wake_job_run(self, job_id: str) -> None:
        run = self._runs.get(job_id)
        if run is not None:
            run.wakeup.set()
