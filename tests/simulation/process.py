"""A process and its wires: it can stop, die, and be cut off; what it has sent arrives anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from everfold.runner.backend import Unreachable
from everfold.streams.errors import ServerUnreachable
from tests.simulation.tasks import Post, Request, Steps, Task

if TYPE_CHECKING:
    from tests.simulation.world import World

REDIS = "redis"
TIMEOUT_MS = 5_000
"""After this a caller gives up, whatever its request may still do."""
LATEST_MS = 6_000
"""A request arrives by then, or never."""


class Process:
    def __init__(self, world: World, name: str) -> None:
        self.world, self.agenda, self.name = world, world.agenda, name
        self.is_alive = True
        self.frozen_until_ms = self.blocked_until_ms = self.blocked_since_ms = 0
        """Frozen: all of it stands still. Blocked: only its event loop does."""
        self.cut_until_ms: dict[str, int] = {}
        """Machine -> until when it cannot be reached from here."""
        self.cut_for_good: set[str] = set()
        """Machines that this one never reaches again."""
        self.skew_ms = 0

    def wall_ms(self) -> int:
        """Return the time as this machine's clock shows it."""
        return self.agenda.now_ms + self.skew_ms

    def spawn(self, steps: Steps[None], name: str, *, on_thread: bool = False) -> Task:
        task = Task(self, steps, name, on_thread=on_thread)
        self.later(task, 0)
        return task

    def later(self, task: Task, ms: int) -> None:
        self.agenda.after(ms, self._resume, task, task.turn, None)

    def after(self, ms: int, act: Callable[..., None], *given: object) -> None:
        """Let `act` happen in this process's event loop, unless it is dead by then."""
        self.agenda.after(ms, self._in_loop, act, given)

    def _in_loop(self, act: Callable[..., None], given: tuple[object, ...]) -> None:
        if not self.is_alive:
            return
        wait_ms = self._stands_still_ms(on_thread=False)
        if wait_ms > 0:
            self.agenda.after(wait_ms, self._in_loop, act, given)
        else:
            act(*given)

    def _stands_still_ms(self, *, on_thread: bool) -> int:
        until_ms = self.frozen_until_ms
        if not on_thread:
            until_ms = max(until_ms, self.blocked_until_ms)
        return until_ms - self.agenda.now_ms

    def _resume(self, task: Task, turn: int, value: object) -> None:
        if not self.is_alive or turn != task.turn or task.is_done:
            return
        wait_ms = self._stands_still_ms(on_thread=task.on_thread)
        if wait_ms > 0:
            self.agenda.after(wait_ms, self._resume, task, turn, value)
        elif self.world.faults.strike(self, task):
            self.agenda.after(0, self._resume, task, turn, value)
        else:
            task.resume(turn, value)

    # The wires.

    def is_cut_from(self, machine: str) -> bool:
        is_cut = self.cut_until_ms.get(machine, 0) > self.agenda.now_ms
        return is_cut or machine in self.cut_for_good

    def reaches(self, machine: str) -> bool:
        return self.world.is_up(machine) and not self.is_cut_from(machine)

    def send(self, task: Task, request: Request) -> None:
        """Give a request to the network, and its fate to chance."""
        faults, turn = self.world.faults, task.turn
        if not self.reaches(request.to) or faults.loses_request():
            self._fail(task, turn, request, faults.time_to_notice_ms())
            return
        delay_ms = faults.latency_ms(LATEST_MS)
        if delay_ms > TIMEOUT_MS:
            self._fail(task, turn, request, TIMEOUT_MS)
        self.agenda.after(delay_ms, self._arrive, task, turn, request)

    def post(self, task: Task, post: Post) -> None:
        """Give the last byte away: it arrives within `most_ms` or never."""
        faults, turn = self.world.faults, task.turn
        if not self.reaches(post.to) or faults.loses_request():
            post.on_lost()
            self._fail(task, turn, post, faults.time_to_notice_ms())
            return
        if faults.breaks_off():
            self._fail(task, turn, post, faults.latency_ms(TIMEOUT_MS))
        self.agenda.after(faults.travel_ms(post.most_ms), self._arrive, task, turn, post)

    def _arrive(self, task: Task, turn: int, request: Request | Post) -> None:
        """Do what was asked, even if the one who asked is dead by now."""
        faults = self.world.faults
        if not self.world.is_up(request.to) and isinstance(request, Request):
            self._fail(task, turn, request, 1)
            return
        reply = request.act()
        if self.is_cut_from(request.to) or faults.loses_reply():
            self._fail(task, turn, request, faults.time_to_notice_ms())
        elif self.is_alive:
            self.agenda.after(faults.latency_ms(TIMEOUT_MS), self._resume, task, turn, reply)

    def _fail(self, task: Task, turn: int, request: Request | Post, delay_ms: int) -> None:
        failure: object = Unreachable("no answer")
        if request.to == REDIS:
            failure = ServerUnreachable("no answer")
        if self.is_alive:
            self.agenda.after(delay_ms, self._resume, task, turn, failure)
