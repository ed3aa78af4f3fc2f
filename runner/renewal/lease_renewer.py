"""Renews the leases of this runner by a process of their own.

Rule: a busy runner, even one in a long call that holds the interpreter lock, does not look dead. A
lease is trusted until (time its last renewal was asked for) + (its length) - (a margin), by a clock
that nobody sets. A process that ends or hangs is replaced, and the trust runs on meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import anyio
from msgspec import Struct

from everfold.runner.config import RunnerConfig
from everfold.runner.renewal.messages import (
    BEAT_EVERY_S,
    Beat,
    Forget,
    FromRenewer,
    Hold,
    Missed,
    Outcome,
    Round,
    Setup,
)
from everfold.runner.renewal.renewer_process import RenewerProcess, place_of
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.nodes.pools import COMMAND_TIMEOUT_S
from everfold.streams.redis.keys import connection_name
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.scripts import RENEW_SOURCE
from everfold.streams.telemetry.measures import counter

logger = get_logger("everfold.runner")

RENEWALS_FAILED = counter(
    "everfold_lease_renewals_failed",
    "Renewals that failed: a round in which the server was not reached (unreachable), a lease that "
    "it answered an error about (error), or that is over, as of a job that has just ended (over).",
    ("why",),
)
for _why in ("unreachable", "error", "over"):
    RENEWALS_FAILED.add(_why, amount=0)

START_WITHIN_S = 10.0
"""How long a new process may take until it answers for the first time."""

SILENT_LEAST_S = 1.0
"""A process that answers nothing for a third of a lease, and at least so long, hangs."""


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
        self._process: RenewerProcess | None = None
        self._answered = 0
        """Number of the newest beat that the process has answered."""
        self._why_missed: dict[str, str] = {}
        """Primary -> why leases were not renewed there, and that was said."""

    @property
    def pid(self) -> int:
        """Of the renewing process, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def add(
        self,
        lease: Lease,
        asked_at_s: float,
        on_lost: Callable[[int], None],
        on_cancel: Callable[[], None],
    ) -> None:
        """Renew a lease from now on; an older lease of the same job is forgotten.

        `asked_at_s` is `steady_s()` before it was asked for. `on_lost` is called with the job's
        present epoch, -1 when the server knows no such job, and `on_cancel` after a renewal that
        finds a cancel request.
        """
        until_s = self._trusted_until(asked_at_s)
        self._held[lease.job_id] = _Held(lease, until_s, on_lost, on_cancel)
        if self._process is not None:
            self._process.tell(self._hold(self._held[lease.job_id]))

    def remove(self, lease: Lease) -> None:
        """Renew this lease no more. Does nothing when another lease of its job is held by now."""
        held = self._held.get(lease.job_id)
        if held is not None and held.lease.epoch == lease.epoch:
            del self._held[lease.job_id]
            if self._process is not None:
                self._process.tell(Forget(lease.job_id, lease.epoch))

    def holds(self, job_id: str) -> bool:
        """Return whether a lease of this job is being renewed."""
        return job_id in self._held

    def is_trusted(self, lease: Lease) -> bool:
        """Return whether this lease is held and fresh enough to send something under it."""
        held = self._held.get(lease.job_id)
        return (
            held is not None
            and held.lease.epoch == lease.epoch
            and steady_s() < held.trusted_until_s
        )

    async def run(self) -> None:
        """Keep a renewing process until cancelled; it has ended when this returns."""
        backoff = Backoff(first_s=0.05, most_s=1.0)
        while True:
            try:
                await self._with_process(backoff)
            except OSError as error:
                logger.error("renewer_not_started why=%r", str(error))
            await anyio.sleep(backoff.next_s())

    async def _with_process(self, backoff: Backoff) -> None:
        """Start a process and use it until it ends or hangs."""
        process = await RenewerProcess.start()
        try:
            process.tell(self._setup())
            for held in self._held.values():
                process.tell(self._hold(held))
            self._process, self._answered = process, 0
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._beat, process)
                while (message := await process.heard()) is not None:
                    backoff.reset()
                    self._apply(message)
                tasks.cancel_scope.cancel()
        finally:
            self._process = None
            with anyio.CancelScope(shield=True):
                code = await process.end()
        logger.warning("renewer_ended pid=%s exit_code=%s", process.pid, code)

    async def _beat(self, process: RenewerProcess) -> None:
        """Say that the event loop turns; end a process that answers no more.

        Its silence is counted in turns of this loop: after a long stall of the runner itself the
        answers wait in the pipe.
        """
        number, silent_s = 0, 0.0
        while True:
            number += 1
            process.tell(Beat(number))
            answered = self._answered
            await anyio.sleep(BEAT_EVERY_S)
            silent_s = 0.0 if self._answered > answered else silent_s + BEAT_EVERY_S
            limit_s = max(self._config.lease_ttl_s / 3, SILENT_LEAST_S)
            if silent_s > (limit_s if self._answered else START_WITHIN_S):
                logger.warning("renewer_hangs pid=%s", process.pid)
                process.kill()
                return

    def _apply(self, message: FromRenewer) -> None:
        match message:
            case Beat(number=number):
                self._answered = number
            case Missed(why=why, node=node):
                RENEWALS_FAILED.add("unreachable")
                if why != self._why_missed.get(node):
                    logger.warning("leases_not_renewed why=%r", why)
                self._why_missed[node] = why
            case Round():
                self._why_missed.pop(message.node, None)
                if message.failed:
                    RENEWALS_FAILED.add("error", amount=len(message.failed))
                self._apply_round(message)

    def _apply_round(self, message: Round) -> None:
        for outcome in message.renewed:
            if (held := self._of(outcome)) is not None:
                held.trusted_until_s = self._trusted_until(message.asked_at_s)
        for outcome in message.over:
            if (held := self._of(outcome)) is not None:
                held.trusted_until_s = 0.0
                RENEWALS_FAILED.add("over")
                held.on_lost(outcome.current_epoch)
        for outcome in message.canceling:
            if (held := self._of(outcome)) is not None:
                held.on_cancel()

    def _of(self, outcome: Outcome) -> _Held | None:
        held = self._held.get(outcome.job_id)
        return held if held is not None and held.lease.epoch == outcome.epoch else None

    def _setup(self) -> Setup:
        config = self._config
        return Setup(
            place=place_of(self._log.url, is_cluster=not self._log.redis.is_one_server),
            runner=config.name,
            runner_pid=os.getpid(),
            connection_name=connection_name(config.name),
            script=RENEW_SOURCE,
            renew_every_s=config.renew_every_s,
            stuck_after_s=config.stuck_after_s,
            timeout_s=COMMAND_TIMEOUT_S,
        )

    def _hold(self, held: _Held) -> Hold:
        lease, keys = held.lease, self._log.keys
        partition = keys.partition_of(lease.job_id)
        return Hold(
            job_id=lease.job_id,
            epoch=lease.epoch,
            dispatch=keys.dispatch(partition, lease.queue, lease.priority),
            dispatch_id=lease.dispatch_id,
            head=keys.head(lease.job_id),
        )

    def _trusted_until(self, asked_at_s: float) -> float:
        return asked_at_s + self._config.lease_ttl_s - self._config.lease_margin_s
