"""What may go wrong, and how often: a weather that each seed draws for itself.

Rule: a fault strikes right before a runner's step, so that it can fall between any two awaits.
Each weather leaves most kinds of faults out, so that every mixture of kinds is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from msgspec import Struct

from tests.simulation.agenda import Agenda
from tests.simulation.comfyui import ComfyUI
from tests.simulation.process import REDIS, Process
from tests.simulation.runner import Runner
from tests.simulation.server_clock import is_asked_for

if TYPE_CHECKING:
    from tests.simulation.tasks import Task
    from tests.simulation.world import World

KINDS = (
    "kill", "freeze", "block", "cut_redis", "cut_backend", "drain", "restart", "lose_worker",
    "delete", "interrupt", "clear", "redis_restart", "cancel", "go_away", "wedge", "cut_for_good",
    "hide_names", "set_clock",
)  # fmt: skip


STRANGE = "strange"
"""A newer program appends an event, and some runners are of an older release. In weather of its
own: most schedules are about runners of one release."""


AWAY_MOST_MS = 120_000


class Weather(Struct, frozen=True, kw_only=True):
    """Chances from 0 to 1."""

    kinds: tuple[str, ...] = ()
    per_job_step: float = 0.0
    per_actor_step: float = 0.0
    lost_request: float = 0.0
    lost_reply: float = 0.0
    slow: float = 0.0
    late_post: float = 0.0
    """A POST that waits long for its connection, whose bytes travel long, or that breaks off
    while they still travel."""
    garbled: float = 0.0
    deaf_socket: float = 0.0


CALM = Weather()


def draw_weather(random: Random) -> Weather:
    def sometimes(most: float) -> float:
        return random.random() * most if random.random() < 0.4 else 0.0

    strength = random.choice((0.02, 0.05, 0.15))
    return Weather(
        kinds=tuple(kind for kind in KINDS if random.random() < 0.35),
        per_job_step=strength,
        per_actor_step=strength / 25,
        lost_request=sometimes(0.15),
        lost_reply=sometimes(0.15),
        slow=sometimes(0.3),
        late_post=sometimes(1.0),
        garbled=sometimes(0.5),
        deaf_socket=sometimes(1.0),
    )


class Faults:
    def __init__(self, world: World, weather: Weather) -> None:
        self._world, self.weather = world, weather
        self._agenda: Agenda = world.agenda
        self.struck: dict[str, int] = {}

    def calm(self) -> None:
        self.weather = CALM

    # Chances on the wire.

    def latency_ms(self, most_ms: int) -> int:
        if self._agenda.chance(self.weather.slow):
            return self._agenda.between(0, most_ms)
        return self._agenda.between(0, 3)

    def connect_ms(self) -> int:
        if self._agenda.chance(self.weather.late_post):
            return self._agenda.between(0, self._agenda.random.choice((500, 3_000, 12_000)))
        return self.latency_ms(12_000)

    def travel_ms(self, most_ms: int) -> int:
        """Return how long the bytes of a POST are on their way."""
        is_late = self._agenda.chance(self.weather.late_post)
        return self._agenda.between(0, most_ms) if is_late else self.latency_ms(most_ms)

    def breaks_off(self) -> bool:
        return self._agenda.chance(self.weather.late_post / 2)

    def time_to_notice_ms(self) -> int:
        """A connection breaks at once, or a time-out has to end."""
        return self._agenda.between(1, 800) if self._agenda.chance(0.7) else 5_000

    def loses_request(self) -> bool:
        return self._agenda.chance(self.weather.lost_request)

    def loses_reply(self) -> bool:
        return self._agenda.chance(self.weather.lost_reply)

    def garbles_answer(self) -> bool:
        return self._agenda.chance(self.weather.garbled)

    # Blows.

    def strike(self, process: Process, task: Task) -> bool:
        """Maybe strike before this step; True when the step may not be taken now."""
        weather = self.weather
        if not isinstance(process, Runner) or not weather.kinds:
            return False
        chance = weather.per_job_step if task.name in process.runs else weather.per_actor_step
        if not self._agenda.chance(chance):
            return False
        return self.cause(self._agenda.random.choice(weather.kinds), process)

    def cause(self, kind: str, runner: Runner) -> bool:
        """Let one kind of fault happen now; True when it stops `runner`."""
        self.struck[kind] = self.struck.get(kind, 0) + 1
        self._world.note("-- fault:", kind, runner.name)
        blow: Callable[[Runner], bool] | None = getattr(self, f"_{kind}", None)
        if blow is not None:
            return blow(runner)
        backend = self._agenda.random.choice(list(self._world.backends.values()))
        backend.interfere(kind)
        return False

    def _long_ms(self) -> int:
        return self._agenda.between(50, self._agenda.random.choice((800, 6_000, 30_000)))

    def _kill(self, runner: Runner) -> bool:
        runner.die()
        self._agenda.after(self._long_ms() // 2, self._world.add_runner)
        return True

    def _freeze(self, runner: Runner) -> bool:
        runner.frozen_until_ms = self._agenda.now_ms + self._long_ms()
        return True

    def _block(self, runner: Runner) -> bool:
        if not runner.is_blocked:
            runner.blocked_since_ms = self._agenda.now_ms
        runner.blocked_until_ms = self._agenda.now_ms + self._long_ms()
        return True

    def _cut_redis(self, runner: Runner) -> bool:
        runner.cut_until_ms[REDIS] = self._agenda.now_ms + self._long_ms()
        return False

    def _cut_backend(self, runner: Runner) -> bool:
        name = self._agenda.random.choice(list(self._world.backends))
        runner.cut_until_ms[name] = self._agenda.now_ms + self._long_ms()
        return False

    def _drain(self, runner: Runner) -> bool:
        runner.drain()
        self._agenda.after(self._long_ms() // 2, self._world.add_runner)
        return False

    def _restart(self, runner: Runner) -> bool:
        backend = self._agenda.random.choice(list(self._world.backends.values()))
        if backend.is_up:
            backend.stop()
            self._agenda.after(self._agenda.between(1, 5_000), backend.start)
        return False

    def _lose_worker(self, runner: Runner) -> bool:
        self._agenda.random.choice(list(self._world.backends.values())).lose_worker()
        return False

    def _go_away(self, runner: Runner) -> bool:
        """Nobody reaches a backend any more, for a while or for good; it goes on working."""
        here = [it for it in self._world.backends.values() if not it.is_away]
        if len(here) > 1:
            backend = self._agenda.random.choice(here)
            backend.is_away = True
            if self._agenda.chance(0.5):
                self._agenda.after(
                    self._agenda.between(2_000, AWAY_MOST_MS), self._come_back, backend
                )
        return False

    def _come_back(self, backend: ComfyUI) -> None:
        backend.is_away, backend.here_since_ms = False, self._agenda.now_ms

    def _wedge(self, runner: Runner) -> bool:
        self._agenda.random.choice(list(self._world.backends.values())).wedge()
        return False

    def _cut_for_good(self, runner: Runner) -> bool:
        name = self._agenda.random.choice(list(self._world.backends))
        if len(self._world.backends) > 1:
            runner.cut_for_good.add(name)
        return False

    def _hide_names(self, runner: Runner) -> bool:
        """CLIENT LIST shows nobody, as behind some proxies."""
        self._world.names_hidden_until_ms = self._agenda.now_ms + self._long_ms()
        return False

    def _set_clock(self, runner: Runner) -> bool:
        """The clock of the server's host is set, forward or back.

        Not back while a job waits for a time that a user asked for: it would wait for that time.
        """
        ms = self._agenda.random.choice((5_000, 90_000, 6 * 3_600_000))
        sign = self._agenda.random.choice((-1, 1))
        server = self._world.server
        if sign > 0 or not any(is_asked_for(server, job_id) for job_id in server.later):
            self._world.clock.step(sign * ms)
        return False

    def _redis_restart(self, runner: Runner) -> bool:
        self._world.redis_down_until_ms = self._agenda.now_ms + self._agenda.between(10, 4_000)
        return False

    def _strange(self, runner: Runner) -> bool:
        self._world.server.append_strange(self._agenda.random.choice(self._world.job_ids))
        return False

    def _cancel(self, runner: Runner) -> bool:
        self._world.ask_to_cancel(self._agenda.random.choice(self._world.job_ids))
        return False
