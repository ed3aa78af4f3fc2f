"""runner/renewal/lease_renewer.py as steps: renewal beside the runner, trust by clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Unavailable
from tests.simulation.process import REDIS
from tests.simulation.tasks import Steps, ask

if TYPE_CHECKING:
    from tests.simulation.job_run import JobRun
    from tests.simulation.runner import Runner


class Held:
    def __init__(self, lease: Lease, trusted_until_ms: int, run: JobRun) -> None:
        self.lease, self.trusted_until_ms, self.run = lease, trusted_until_ms, run


class LeaseRenewer:
    def __init__(self, runner: Runner) -> None:
        self._runner, self._held = runner, dict[str, Held]()
        config = runner.config
        self._trust_ms = int((config.lease_ttl_s - config.lease_margin_s) * 1000)

    def add(self, lease: Lease, asked_at_ms: int, run: JobRun) -> None:
        self._held[lease.job_id] = Held(lease, asked_at_ms + self._trust_ms, run)

    def remove(self, lease: Lease) -> None:
        held = self._held.get(lease.job_id)
        if held is not None and held.lease.epoch == lease.epoch:
            del self._held[lease.job_id]

    def holds(self, job_id: str) -> bool:
        return job_id in self._held

    def is_trusted(self, lease: Lease) -> bool:
        held = self._held.get(lease.job_id)
        return (
            held is not None
            and held.lease.epoch == lease.epoch
            and self._runner.agenda.now_ms < held.trusted_until_ms
        )

    def keep_renewed(self) -> Steps[None]:
        runner, config = self._runner, self._runner.config
        while True:
            stuck_ms = runner.agenda.now_ms - runner.blocked_since_ms
            if not runner.is_blocked or stuck_ms < config.stuck_after_s * 1000:
                yield from self._renew_all()
            yield int(config.renew_every_s * 1000)

    def _renew_all(self) -> Steps[None]:
        runner, held = self._runner, list(self._held.values())
        if not held:
            return
        asked_at_ms = runner.agenda.now_ms
        leases = [entry.lease for entry in held]
        server = runner.world.server
        try:
            outcomes = yield from ask(REDIS, lambda: server.renew(runner.name, leases), "renew")
        except Unavailable:
            return
        for entry, outcome in zip(held, outcomes, strict=True):
            self._note(entry, str(outcome[0]), asked_at_ms)

    def _note(self, entry: Held, outcome: str, asked_at_ms: int) -> None:
        if outcome == "fenced":
            entry.trusted_until_ms = 0
            self._runner.after(0, entry.run.lose)
            return
        entry.trusted_until_ms = asked_at_ms + self._trust_ms
        if outcome == "canceling":
            self._runner.after(0, entry.run.wake_up)
