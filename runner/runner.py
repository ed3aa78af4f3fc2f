"""A runner: its actors in one task group.

LeaseRenewer renews leases by a process of their own, Fleet polls the backends, HintListener
receives hints, Claimer takes waiting jobs, Sweeper takes over orphaned jobs, Promoter dispatches
delayed jobs, and one JobRun runs each leased job.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakValueDictionary

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED
from msgspec.structs import replace

from everfold.runner.backend import Backend, BackendTraits
from everfold.runner.claiming.abandoned_prompts import AbandonedPrompts
from everfold.runner.claiming.asset_sweeper import AssetSweeper
from everfold.runner.claiming.claimer import Claimer
from everfold.runner.claiming.heartbeat import Heartbeat
from everfold.runner.claiming.hint_listener import HintListener
from everfold.runner.claiming.limit_copies import LimitCopies
from everfold.runner.claiming.promoter import Promoter
from everfold.runner.claiming.sweeper import Sweeper
from everfold.runner.claiming.work_finder import WorkFinder
from everfold.runner.comfyui.backend import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.costs.cost_store import CostStore
from everfold.runner.execution.job_run import JobRun
from everfold.runner.execution.restore_job import has_lost_writes, restore_job
from everfold.runner.execution.shared import Shared
from everfold.runner.fleet.backend_state import BackendState
from everfold.runner.fleet.fleet import Fleet, Reservation
from everfold.runner.inputs.input_files import InputFiles
from everfold.runner.live.live_channel import LiveChannel
from everfold.runner.outputs.output_collection import Thumbnail
from everfold.runner.outputs.store_probe import StoreProbe
from everfold.runner.renewal.lease_renewer import LeaseRenewer
from everfold.runner.telemetry.span_reporter import SpanReporter
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import (
    EverfoldError,
    JobClosed,
    JobUnknown,
    LeaseLost,
    Misconfigured,
    NamespaceMadeAnew,
    NamespaceTooNew,
    RunnerNameTaken,
    Unavailable,
)
from everfold.streams.events.codec import reader_level
from everfold.streams.events.ids import new_id
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.registry import RunnerEntry, deregister_runner, program_version
from everfold.streams.live.live_stream import LISTEN
from everfold.streams.redis.retry import Backoff
from everfold.streams.telemetry.measures import gauge

logger = get_logger("everfold.runner")

JOBS = gauge("everfold_runner_jobs", "Jobs that this runner holds.")

JOB_READS_LIMIT = 8
"""Job runs that may read their job at the same time."""

RELEASE_WITHIN_S = 3.0
"""How long releasing the leases may take once the drain deadline has passed."""


class Runner:
    """Works on the jobs of `log`'s namespace from the call of `run` until it is drained.

    `log` must be opened with the runner's name as actor, because other runners tell from the
    names of its connections that it is alive; raises ValueError otherwise. Without `assets` it
    stores no output files, and leaves jobs that send files, or require theirs to be stored, to
    other runners. `make_backend` builds backends for URLs that only a recovered job names; `traits`
    are those of `backends` by name. `on_backend` is called for each backend once it was asked, and
    when it takes jobs or no more. `thumbnail` makes a small picture of each one that was stored.
    """

    def __init__(
        self,
        log: Log,
        backends: Sequence[Backend],
        config: RunnerConfig,
        assets: AssetStore | None = None,
        *,
        make_backend: Callable[[str], Backend] = ComfyBackend,
        traits: Mapping[str, BackendTraits] = {},
        on_backend: Callable[[BackendState], None] = lambda _: None,
        thumbnail: Thumbnail | None = None,
    ) -> None:
        if log.actor != config.name:
            raise ValueError("open the log with actor=config.name: it is the runner's sign of life")
        log.event_limit_bytes = config.event_limit_bytes
        self._on_backend = on_backend
        fleet = Fleet(
            backends, config.slots, make_backend, socket.gethostname(), traits, self._note_backend
        )
        self._shared = _shared(log, fleet, config, assets, thumbnail)
        work = WorkFinder(log, self._shared.dispatch.clock, config.queues)
        self._claimer = Claimer(self._shared, work, self._start)
        self._sweeper = Sweeper(self._shared, work, self._start)
        self._promoter = Promoter(self._shared, work)
        self._asset_sweeper, self._store_probe = AssetSweeper(self._shared), StoreProbe(assets)
        self._abandoned_prompts = AbandonedPrompts(self._shared)
        self._heartbeat = self._sign_of_life()
        self._refused: Misconfigured | None = None
        self._hints = HintListener(log, self._on_hints())
        self._runs: dict[str, JobRun] = {}
        self._turns = WeakValueDictionary[str, asyncio.Lock]()  # of each job, one run at a time
        self._jobs: anyio.abc.TaskGroup | None = None
        self._none_left = anyio.Event()
        self._draining = anyio.Event()
        self._renewing, self._drain_s = anyio.CancelScope(shield=True), config.drain_s
        log.memory.records_intents, log.memory.in_hand = True, self._is_in_hand

    def _sign_of_life(self) -> Heartbeat:
        return Heartbeat(
            self._shared,
            self._entry(),
            refuse=self._refuse,
            drain=self._drain_for,
            present=self._present,
            on_read=self._abandoned_prompts.note,
        )

    def _on_hints(self) -> dict[str, Callable[[str], None]]:
        """Return what each hint does."""
        return {
            "dispatch": self._claimer.wake,
            "release": self._sweeper.wake,
            "cancel": self._wake_job_run,
            "drain": self._heartbeat.wake,
            "look": lambda _: self._shared.fleet.look_soon(),
            LISTEN: lambda _: self._shared.live.call(),
        }

    @property
    def jobs_in_flight(self) -> int:
        """The number of jobs that this runner holds."""
        return len(self._runs)

    @property
    def renews(self) -> bool:
        """Whether the process that renews its leases runs."""
        return self._shared.leases.pid != 0

    def drain(self, within_s: float | None = None) -> None:
        """Take nothing new, let jobs run for `within_s` (else `drain_s`), then release the rest.

        Returns at once; `run` returns when it is done.
        """
        if within_s is not None:
            self._drain_s = within_s
        self._draining.set()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until drained or cancelled; `task_status` is set once the runner is registered.

        Raises RunnerNameTaken where another runner that lives has its name, NamespaceTooNew where
        it could not read the namespace's events, NamespaceMadeAnew where another program made it
        anew with other keys, and ServerRefusesAccess where the server refuses
        it for `refused_for_s`; if it finds out later, it drains first. Waits while the server is
        away. After a drain every lease is released or left to run out, and the backends are
        closed. When cancelled, leases run out by themselves; the backends are closed then, too.
        Either way leases are renewed until the last job run is over.
        """
        try:
            async with anyio.create_task_group() as renewing:
                renewing.start_soon(self._renew)
                try:
                    if await self._may_begin():
                        await self._work(task_status)
                finally:
                    self._renewing.cancel()
        finally:
            await self._shared.fleet.aclose()
        if self._refused is not None:
            raise self._refused

    async def _may_begin(self) -> bool:
        backoff = Backoff()
        while True:
            try:
                await self._heartbeat.begin()
                # Its backends are known before it has a job there, however soon it dies.
                await self._heartbeat.beat()
                # Registered with a look at the clock: it tells a step that comes right after.
                await self._shared.dispatch.clock.look_at_all()
            except Unavailable:
                await anyio.sleep(backoff.next_s())
            except (NamespaceTooNew, NamespaceMadeAnew, RunnerNameTaken) as refused:
                self._refused = refused
                return False
            else:
                return True

    def _refuse(self, why: Misconfigured) -> None:
        self._refused = why
        self.drain()

    def _drain_for(self, operator: str) -> None:
        if not self._draining.is_set():
            logger.warning("drain_asked by=%s jobs=%d", operator, self.jobs_in_flight)
            self.drain()

    def _present(self, entry: RunnerEntry) -> RunnerEntry:
        return replace(
            entry,
            jobs=self.jobs_in_flight,
            is_draining=self._draining.is_set(),
            assets_trouble=self._store_probe.trouble,
        )

    async def _renew(self) -> None:
        with self._renewing:
            await self._shared.leases.run()

    async def _work(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with anyio.create_task_group() as actors:
            actors.start_soon(self._shared.fleet.run)
            actors.start_soon(self._shared.costs.run)
            actors.start_soon(self._shared.spans.run)
            async with anyio.create_task_group() as self._jobs:
                async with anyio.create_task_group() as takers:
                    self._jobs.start_soon(self._heartbeat.run)
                    self._jobs.start_soon(self._abandoned_prompts.run)
                    self._jobs.start_soon(self._shared.live.run)
                    takers.start_soon(self._asset_sweeper.run)
                    takers.start_soon(self._store_probe.run)
                    takers.start_soon(LimitCopies(self._shared.log).run)
                    for actor in (self._hints, self._claimer, self._sweeper, self._promoter):
                        takers.start_soon(actor.run)
                    task_status.started()
                    await self._draining.wait()
                    takers.cancel_scope.cancel()
                await self._finish_or_release()
            await self._leave()
            await self._shared.spans.finish()
            actors.cancel_scope.cancel()

    def _entry(self) -> RunnerEntry:
        config = self._shared.config
        return RunnerEntry(
            runner=config.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=config.queues,
            backends=tuple(
                backend_state.backend.name for backend_state in self._shared.fleet.states
            ),
            titles={s.backend.name: s.title for s in self._shared.fleet.states if s.title},
            since_ms=time.time_ns() // 1_000_000,
            is_named=self._shared.log.redis.shows_names(),
            instance=new_id(),
            version=program_version(),
            assets=self._shared.assets.url if self._shared.assets else "",
            reader_level=reader_level(),
        )

    async def _leave(self) -> None:
        if isinstance(self._refused, RunnerNameTaken):
            return  # the entry is the other one's
        try:
            await deregister_runner(self._shared.log, self._shared.config.name)
        except EverfoldError:
            return  # another runner will deregister it

    async def _finish_or_release(self) -> None:
        with anyio.move_on_after(self._drain_s):
            await self._until_none_left()
        for run in list(self._runs.values()):
            run.stop_and_release()
        with anyio.move_on_after(RELEASE_WITHIN_S):
            await self._until_none_left()
        if self._jobs is not None:
            self._jobs.cancel_scope.cancel()

    async def _until_none_left(self) -> None:
        while self._runs:
            self._none_left = anyio.Event()
            await self._none_left.wait()

    def _start(self, lease: Lease, asked_at_s: float, reservation: Reservation | None) -> None:
        """Start the run of a job that was just leased; the run owns `reservation`."""
        earlier = self._runs.get(lease.job_id)
        if earlier is not None and earlier.lease.epoch == lease.epoch:
            if reservation is not None:
                self._shared.fleet.release(reservation)
            return  # started already: a late answer met the search for lost leases
        if earlier is not None:
            earlier.lose(lease.epoch)  # a newer lease of our own replaces it
        run = JobRun(self._shared, lease, reservation)
        self._runs[lease.job_id] = run
        JOBS.set(len(self._runs))
        self._shared.leases.add(lease, asked_at_s, run.lose, run.wakeup.set)
        assert self._jobs is not None
        self._jobs.start_soon(self._run_job, run)

    async def _run_job(self, run: JobRun) -> None:
        """Await one job run; no error of a job ends the runner."""
        # One of an earlier lease may be sending still, for a while.
        async with self._turns.setdefault(run.lease.job_id, asyncio.Lock()):
            await self._run_in_turn(run)

    async def _run_in_turn(self, run: JobRun) -> None:
        try:
            await run.run()
        except (LeaseLost, JobClosed, JobUnknown, NamespaceMadeAnew) as over:
            logger.info("job_run_over job=%s why=%r", run.lease.job_id, str(over))
            run.has_lost_writes = has_lost_writes(over, run.lease)
        except Exception:
            logger.exception("job_run_broken job=%s", run.lease.job_id)
            await self._release_broken(run)
        finally:
            if run.has_lost_writes:
                await self._restore(run)
            elif run.submitted is not None:
                # Its client may be gone by now, and the server may still lose all of it.
                self._shared.log.memory.note_submit(*run.submitted)
            if self._runs.get(run.lease.job_id) is run:
                del self._runs[run.lease.job_id]
            JOBS.set(len(self._runs))
            if not self._runs:
                self._none_left.set()

    async def _release_broken(self, run: JobRun) -> None:
        """After an unexpected error wait two lease lengths for another runner, then release.

        The lease is no longer renewed. Either way the error counts as a crash, so that a job that
        breaks every runner ends as poisoned.
        """
        with anyio.move_on_after(2 * self._shared.config.lease_ttl_s):
            await self._draining.wait()
        await run.release_broken()

    async def _restore(self, run: JobRun) -> None:
        try:
            await restore_job(self._shared.log, run.acknowledged, run.submitted)
        except EverfoldError as error:
            logger.warning("job_not_restored job=%s why=%r", run.lease.job_id, str(error))

    def _note_backend(self, state: BackendState) -> None:
        """Have the jobs of a backend that is back looked at, and tell of it."""
        if state.reachable:
            for run in self._runs.values():
                if run.job.backend == state.backend.name:
                    run.wakeup.set()
        self._on_backend(state)

    def _is_in_hand(self, job_id: str, seq: int) -> bool:
        """Say whether a run works on a job and has seen this event; have it look at the log."""
        self._wake_job_run(job_id)
        run = self._runs.get(job_id)
        return run is not None and run.acknowledged.seq >= seq

    def _wake_job_run(self, job_id: str) -> None:
        run = self._runs.get(job_id)
        if run is not None:
            run.wakeup.set()


def _shared(
    log: Log,
    fleet: Fleet,
    config: RunnerConfig,
    assets: AssetStore | None,
    thumbnail: Thumbnail | None,
) -> Shared:
    return Shared(
        log=log,
        assets=assets,
        dispatch=Dispatch(log, config.name, config.lease_ttl_s),
        leases=LeaseRenewer(log, config),
        fleet=fleet,
        input_files=InputFiles(assets),
        config=config,
        live=LiveChannel(log),
        costs=CostStore(log),
        spans=SpanReporter(log),
        job_reads=anyio.Semaphore(JOB_READS_LIMIT),
        thumbnail=thumbnail if config.thumbnails else None,
    )
