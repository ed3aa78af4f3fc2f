"""The wall clock of the server's host, which may be set, and what runners know of it.

Rule: what a runner concludes is the product's own `PartitionClock`; the scripts are
look_at_clock.lua, and shift_times.lua with all calls of move_times.lua as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from everfold.streams.leases.partition_clock import Look, PartitionClock
from tests.simulation.process import REDIS
from tests.simulation.tasks import Steps, ask

if TYPE_CHECKING:
    from tests.simulation.runner import Runner
    from tests.simulation.server import Server

FIRST_MS = 1_800_000_000_000
"""What the server's clock shows when the virtual time is 0."""
CHECK_MS = 2_000
"""How long a runner waits that finds a clock at which nobody had looked."""


class ServerClock:
    """The clock, and the partition's key `clock`."""

    def __init__(self, steady_ms: Callable[[], int]) -> None:
        self._steady_ms = steady_ms
        self._set_by_ms = FIRST_MS
        self.seen_ms = self.stepped_ms = self.unsure_to_ms = 0

    def now_ms(self) -> int:
        return self._steady_ms() + self._set_by_ms

    def step(self, ms: int) -> None:
        self._set_by_ms += ms

    def note_seen(self) -> None:
        if self.now_ms() > self.seen_ms + 10_000:
            self.seen_ms = self.now_ms()

    def look(self) -> Look:
        return Look(self.now_ms(), self.seen_ms, self.stepped_ms, self.unsure_to_ms)

    def shift(self, server: Server, step_ms: int, known_ms: int, anew_ms: int) -> str:
        for stream in server.lanes.values():
            stream.restart_leases(self.now_ms())
        if self.stepped_ms != known_ms:
            return "known"
        if step_ms > 0 and self.seen_ms > self.now_ms() - step_ms + 1000:
            return "refused"
        now_ms = self.now_ms()
        _shift_times(server, step_ms, now_ms, anew_ms)
        self.unsure_to_ms = max(self.unsure_to_ms, now_ms, now_ms - step_ms + 1000)
        self.seen_ms, self.stepped_ms = now_ms, self.stepped_ms + step_ms
        return "shifted"


def _shift_times(server: Server, step_ms: int, now_ms: int, anew_ms: int) -> None:
    def is_anew(entry: str) -> bool:
        return 0 < anew_ms <= int(entry.partition("-")[0])

    for job_id, at_ms in server.deadlines.items():
        head = server.heads[job_id]
        if not is_anew(head.canceled_by[1] if head.canceled_by else head.first):
            late_ms = now_ms - server.later.get(job_id, now_ms)
            moved_ms = step_ms
            if is_asked_for(server, job_id):
                moved_ms = max(0, min(step_ms, late_ms))
            if not head.canceled_by and step_ms < 0 and at_ms + moved_ms < now_ms:
                moved_ms = 0
            server.deadlines[job_id] = at_ms + moved_ms
    for job_id, at_ms in server.later.items():
        if not is_asked_for(server, job_id) and not is_anew(server.heads[job_id].last):
            server.later[job_id] = at_ms + step_ms
    for job_id in server.blocked:
        if not is_anew(server.heads[job_id].last):
            server.heads[job_id].blocked_until_ms += step_ms


def is_asked_for(server: Server, job_id: str) -> bool:
    """Whether the time that the job waits for is one that a user asked for."""
    head = server.heads[job_id]
    return head.phase == "later" and head.epoch == 0 and not head.blocked


class ClockView(PartitionClock):
    """streams/leases/server_clock.py as steps: the clock as one runner knows it."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner.config.lease_ttl_s)
        self._runner = runner

    def steady_s(self) -> float:
        return self._runner.agenda.now_ms / 1000

    def first_look(self) -> Steps[None]:
        if not self.is_known:
            yield from self.look()

    def check(self) -> Steps[None]:
        """What the sweeper and the promoter begin with."""
        yield from self.first_look()
        if self.was_unseen:
            yield CHECK_MS

    def look(self) -> Steps[None]:
        server, clock = self._runner.world.server, self._runner.world.clock
        look, asked_s, answered_s = yield from self._ask()
        step_ms = self.observe(look, asked_s, answered_s)
        if not step_ms:
            return
        known_ms, anew_ms = look.stepped_ms, self.anew_ms(step_ms)
        outcome = yield from ask(
            REDIS, lambda: clock.shift(server, step_ms, known_ms, anew_ms), "shift"
        )
        self._runner.world.note(self._runner.name, "finds the clock set by", step_ms, outcome)
        if outcome != "known":
            again = yield from self._ask()
            self.accept(*again, is_step=True)

    def _ask(self) -> Steps[tuple[Look, float, float]]:
        asked_s = self.steady_s()
        look = yield from ask(REDIS, self._runner.world.clock.look, "look_at_clock")
        return look, asked_s, self.steady_s()
