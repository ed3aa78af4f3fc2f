"""Renews the leases of this runner from a thread of their own.

Rule: the thread has its own event loop and its own connection, so that a busy runner does not
look dead. A runner that stands still for `stuck_after_s` is no longer renewed, so that others take
its jobs over. A lease is trusted until (time its last renewal was sent) + (its length) - (a
margin), by the monotonic clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import anyio
import anyio.from_thread
import anyio.to_thread
from msgspec import Struct

from everfold.runner.config import RunnerConfig
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease, LeaseOver, Renewed
from everfold.streams.errors import EverfoldError
from everfold.streams.leases.dispatch import Dispatch

TICK_S = 0.1


class _Held(Struct, eq=False):
    lease: Lease
    trusted_until_s: float
    on_lost: Callable[[int], None]
    on_cancel: Callable[[], None]


class LeaseRenewer:
    """The leases that this runner holds, one per job. Call it from the runner's event loop only."""

    def __init__(self, log: Log, config: RunnerConfig) -> None:
        self._log = log
        self._config = config
        self._held: dict[str, _Held] = {}
        self._ended = threading.Event()
        self._alive_at_s = time.monotonic()

    def add(
        self,
        lease: Lease,
        asked_at_s: float,
        on_lost: Callable[[int], None],
        on_cancel: Callable[[], None],
    ) -> None:
        """Renew a lease from now on; an older lease of the same job is forgotten.

        `asked_at_s` is time.monotonic() before it was asked for. `on_lost` is called with the
        job's present epoch, -1 when the server knows no such job, and `on_cancel` after each
        renewal that finds a cancel request; both in the runner's event loop.
        """
        until_s = self._trusted_until(asked_at_s)
        self._held[lease.job_id] = _Held(lease, until_s, on_lost, on_cancel)

    def remove(self, lease: Lease) -> None:
        """Renew this lease no more. Does nothing when another lease of its job is held by now."""
        held = self._held.get(lease.job_id)
        if held is not None and held.lease.epoch == lease.epoch:
            del self._held[lease.job_id]

    def holds(self, job_id: str) -> bool:
        """Return whether a lease of this job is being renewed."""
        return job_id in self._held

    def is_trusted(self, lease: Lease) -> bool:
        """Return whether this lease is held and fresh enough to send something under it."""
        held = self._held.get(lease.job_id)
        return (
            held is not None
            and held.lease.epoch == lease.epoch
            and time.monotonic() < held.trusted_until_s
        )

    async def run(self) -> None:
        """Renew every `renew_every_s` until cancelled."""
        async with anyio.from_thread.BlockingPortal() as portal, anyio.create_task_group() as tasks:
            tasks.start_soon(self._mark_alive)
            try:
                renewing = partial(anyio.run, self._renew_in_thread, portal)
                await anyio.to_thread.run_sync(renewing, abandon_on_cancel=True)
            finally:
                self._ended.set()

    async def _mark_alive(self) -> None:
        while True:
            self._alive_at_s = time.monotonic()
            await anyio.sleep(TICK_S * 5)

    async def _renew_in_thread(self, portal: anyio.from_thread.BlockingPortal) -> None:
        config = self._config
        async with Log.open(
            self._log.url, namespace=self._log.keys.namespace, actor=config.name
        ) as log:
            dispatch = Dispatch(log, config.name)
            while not self._ended.is_set():
                if time.monotonic() - self._alive_at_s < config.stuck_after_s:
                    await self._renew_all(dispatch, portal)
                await self._pause(config.renew_every_s)

    async def _pause(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not self._ended.is_set():  # noqa: ASYNC110 - set by another thread
            await anyio.sleep(TICK_S)

    async def _renew_all(
        self, dispatch: Dispatch, portal: anyio.from_thread.BlockingPortal
    ) -> None:
        held = list(self._held.values())
        asked_at_s = time.monotonic()
        try:
            outcomes = await dispatch.renew([entry.lease for entry in held])
        except EverfoldError:
            return  # the leases go on ageing; the next round tries again
        for entry, outcome in zip(held, outcomes, strict=True):
            if not self._ended.is_set():
                self._apply(entry, outcome, asked_at_s, portal)

    def _apply(
        self,
        entry: _Held,
        outcome: Renewed | LeaseOver,
        asked_at_s: float,
        portal: anyio.from_thread.BlockingPortal,
    ) -> None:
        if isinstance(outcome, LeaseOver):
            entry.trusted_until_s = 0.0
            portal.start_task_soon(entry.on_lost, outcome.current_epoch)
            return
        entry.trusted_until_s = self._trusted_until(asked_at_s)
        if outcome.canceling:
            portal.start_task_soon(entry.on_cancel)

    def _trusted_until(self, asked_at_s: float) -> float:
        return asked_at_s + self._config.lease_ttl_s - self._config.lease_margin_s
