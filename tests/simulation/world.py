"""One run: clients, runners, Redis and backends under one seed, from first submit to last end."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.runner.backend import Attempt, Truth
from everfold.runner.config import RunnerConfig
from everfold.runner.decisions.actions import Action, DecisionInputs
from everfold.runner.decisions.decide import decide
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import Unavailable
from everfold.streams.events.event import CancelRequested, Policy, Submitted
from everfold.streams.events.record import Recorded
from everfold.streams.redis.keys import connection_name
from tests.simulation import actors
from tests.simulation.agenda import START_MS, Agenda
from tests.simulation.attempt_start import AttemptStart
from tests.simulation.comfyui import ComfyUI, Ledger, Script
from tests.simulation.faults import AWAY_MOST_MS, STRANGE, Faults, Weather, draw_weather
from tests.simulation.head import Lane
from tests.simulation.heartbeat import Heartbeat
from tests.simulation.invariants import Checker, expect
from tests.simulation.job_run import JobRun
from tests.simulation.lease_renewer import LeaseRenewer
from tests.simulation.process import REDIS, Process
from tests.simulation.remote import Remote
from tests.simulation.runner import Runner
from tests.simulation.server import Author, Server
from tests.simulation.server_clock import ClockView, ServerClock
from tests.simulation.tasks import Steps, ask
from tests.simulation.unreadable import OLD

STORM_MS = 40_000
PATIENCE_MS = 900_000
"""Virtual time that the jobs get to end once all is calm."""
STOPPED_WITHIN_MS = 60_000
"""Virtual time in which prompts that were given up are stopped, where their backend is reached."""
STEPS_LIMIT = 100_000
RUNNERS_LIMIT = 4
OPERATOR_AFTER_MS = 200_000

Decide = Callable[[Job, Truth | None, DecisionInputs], Action]


def _is_known_lease(earlier: Lease, lease: Lease) -> bool:
    """Say whether two answers of the server speak of one lease."""
    return earlier.epoch == lease.epoch


class Parts(Struct, frozen=True, kw_only=True):
    """What a run is made of. A breakage replaces one part."""

    server: type[Server] = Server
    decide: Decide = decide
    job_run: type[JobRun] = JobRun
    attempt_start: type[AttemptStart] = AttemptStart
    remote: type[Remote] = Remote
    lease_renewer: type[LeaseRenewer] = LeaseRenewer
    heartbeat: type[Heartbeat] = Heartbeat
    clock_view: type[ClockView] = ClockView
    sweeping: Callable[[Runner], Steps[None]] = actors.sweeping
    adopting: Callable[[Runner], Steps[None]] = actors.adopting
    is_known_lease: Callable[[Lease, Lease], bool] = _is_known_lease


class Options(Struct, frozen=True, kw_only=True):
    """What a run is given besides its seed."""

    parts: Parts = Parts()
    weather: Weather | None = None
    """None: the seed draws one."""
    jobs: int = 0
    """0: the seed says how many."""
    runners: int = 0
    """0: the seed says how many at first."""
    run_ms: tuple[int, ...] = (60, 900, 4_000, 15_000)
    """How long prompts may run; each draws one of these."""
    window_ms: int = 0
    """Time between the last look at the lease and the last byte; ComfyUI leaves it above 0."""
    skew_ms: int = 20_000
    """How far a machine's clock may be from the server's."""
    is_tracing: bool = False


class World:
    def __init__(self, seed: int, options: Options | None = None) -> None:
        self.seed, self.options = seed, options or Options()
        self.parts, self.window_ms = self.options.parts, self.options.window_ms
        self.is_tracing, self.trace = self.options.is_tracing, list[str]()
        self.agenda = Agenda(seed)
        random = self.agenda.random
        self.ledger = Ledger()
        self.checker = Checker(self.ledger)
        self.clock = ServerClock(lambda: self.agenda.now_ms)
        self.server = self.parts.server(self.clock.now_ms, self._record, lambda: self.agenda.now_ms)
        self.checker.watch(self.server)
        self.faults = Faults(self, self.options.weather or draw_weather(random))
        self.redis_down_until_ms = self.names_hidden_until_ms = 0
        self.lanes: list[Lane] = [("default", "high"), ("default", "normal")]
        del self.lanes[random.choice((1, 2)) :]
        self.backends = self._backends(random.choice((1, 2)))
        self._names = self._ids = self._unacknowledged = 0
        self.is_calm, self.calm_since_ms = False, 0
        self.runners: list[Runner] = []
        self.client = Process(self, "client")
        self.job_ids: list[str] = []
        for _ in range(self.options.runners or random.choice((1, 2, 2, 3))):
            self.add_runner()
        for _ in range(self.options.jobs or random.choice((1, 1, 2, 3))):
            self.submit()

    def _backends(self, count: int) -> dict[str, ComfyUI]:
        found = {}
        for name in ("gpu-one", "gpu-two")[:count]:
            found[name] = ComfyUI(name, self.agenda, self.ledger)
            found[name].deaf_sockets = self.faults.weather.deaf_socket
        return found

    # Time.

    def step(self) -> bool:
        """Let the next thing happen and check the invariants."""
        if not self.agenda.step():
            return False
        self.checker.step()
        return True

    def run(self) -> World:
        """Storm, calm, and the end of every job. Raises Violation."""
        until_ms = START_MS + STORM_MS
        while self.agenda.now_ms < until_ms and not self.is_over():
            self.step()
        self.calm_down()
        self.settle()
        return self

    def settle(self) -> None:
        """Go on until every job has ended. Raises Violation when one does not."""
        until_ms, limit = self.agenda.now_ms + PATIENCE_MS, self.agenda.steps + STEPS_LIMIT
        while not self.is_over() and self.agenda.now_ms < until_ms:
            self.step()
            expect(self.agenda.steps < limit, "7: busy without end", self.agenda.now_ms)
        self.checker.end()
        self.checker.bounds(self.calm_since_ms)
        until_ms = self.agenda.now_ms + AWAY_MOST_MS + STOPPED_WITHIN_MS
        while self.checker.left_running(self.backends) and self.agenda.now_ms < until_ms:
            self.step()
        left = self.checker.left_running(self._long_reachable())
        expect(not left, "6: given up, and never stopped", left)

    def _long_reachable(self) -> list[str]:
        since_ms = self.agenda.now_ms - STOPPED_WITHIN_MS
        return [
            it.name
            for it in self.backends.values()
            if not (it.is_away or it.is_wedged) and it.here_since_ms <= since_ms
        ]

    def is_over(self) -> bool:
        return self._unacknowledged == 0 and not any(
            head.status == "open" for head in self.server.heads.values()
        )

    def calm_down(self) -> None:
        """No fault strikes from now on, and what is broken is repaired.

        Backends that are away stay so, and wedged prompts go on: much later an operator retires the
        ones and restarts the others, for the jobs whose policy waits for ever.
        """
        self.is_calm = True
        self.calm_since_ms = self.agenda.now_ms
        self.faults.calm()
        self.redis_down_until_ms = self.names_hidden_until_ms = 0
        for runner in self.runners:
            runner.cut_until_ms.clear()
        for backend in self.backends.values():
            backend.deaf_sockets = 0.0
            if backend.is_zombie:
                backend.stop()
            backend.start()
        self.agenda.after(OPERATOR_AFTER_MS, self._let_an_operator_help)
        if not any(self._is_whole(runner) for runner in self.runners):
            self.add_runner(RUNNERS_LIMIT + 1)

    def _is_whole(self, runner: Runner) -> bool:
        return runner.is_alive and not runner.is_draining and not runner.cut_for_good

    def _let_an_operator_help(self) -> None:
        self.server.retired |= {name for name, it in self.backends.items() if it.is_away}
        for backend in self.backends.values():
            if backend.is_wedged:
                backend.stop()
                backend.start()

    # Who is there.

    def is_up(self, machine: str) -> bool:
        if machine == REDIS:
            return self.agenda.now_ms >= self.redis_down_until_ms
        return self.backends[machine].is_up and not self.backends[machine].is_away

    def add_runner(self, limit: int = RUNNERS_LIMIT) -> None:
        if sum(runner.is_alive for runner in self.runners) >= limit:
            return
        self._names += 1
        slots = self.agenda.random.choice((1, 2))
        name = f"runner-{self._names}"
        config = RunnerConfig(name=name, slots=slots, sweep_every_s=1.0, poll_every_s=1.5)
        runner = Runner(self, config)
        skew_ms = self.options.skew_ms
        runner.skew_ms = self.agenda.between(-skew_ms, skew_ms)
        if STRANGE in self.faults.weather.kinds and self.agenda.chance(0.6):
            runner.reads = OLD
            self.checker.old_runners.add(name)
        self.runners.append(runner)

    def connected(self) -> frozenset[str]:
        """CLIENT LIST: a frozen process keeps its connections, a dead one has none."""
        if self.agenda.now_ms < self.names_hidden_until_ms:
            return frozenset()
        return frozenset(
            connection_name(runner.name)
            for runner in self.runners
            if runner.is_alive and not runner.is_cut_from(REDIS)
        )

    def new_id(self) -> str:
        self._ids += 1
        return f"event-{self._ids}"

    def script_of(self, attempt: Attempt) -> Script:
        """Say what an attempt will do when it runs."""
        random = self.agenda.random
        ending = random.choice(("success",) * 8 + ("execution_error", "out_of_memory", "rejected"))
        run_ms = random.choice(self.options.run_ms)
        return Script(run_ms, ending, deaf=random.random() < 0.2)

    # What clients do.

    def submit(self) -> None:
        """Let a client submit one more job, sooner or later."""
        random = self.agenda.random
        job_id = f"job-{len(self.job_ids) + 1}"
        self.job_ids.append(job_id)
        event = Submitted(
            kind="",
            user="",
            queue="default",
            priority=random.choice(self.lanes)[1],
            workflow="graph",
            metadata={},
            policy=draw_policy(random),
        )
        for _ in range(random.choice((1, 1, 1, 2))):
            self._unacknowledged += 1
            self.client.spawn(self._submitting(job_id, event, self.new_id()), "submitting")

    def _submitting(self, job_id: str, event: Submitted, event_id: str) -> Steps[None]:
        random, server = self.agenda.random, self.server
        yield random.choice((0, 500, 5_000))
        deadline_s = event.policy.queue_deadline_s
        wait_ms = int(deadline_s * 1000) if deadline_s else 0
        is_delayed = random.random() < 0.15

        def submit() -> object:
            due_ms = self.clock.now_ms() + 3_000 if is_delayed else 0
            begin_ms = max(self.clock.now_ms(), due_ms)
            deadline_ms = begin_ms + wait_ms if wait_ms else 0
            return server.submit(job_id, event_id, event, due_ms, deadline_ms)

        while True:
            try:
                yield from ask(REDIS, submit, "submit")
            except Unavailable:
                yield 200
            else:
                break
        self._unacknowledged -= 1
        for runner in self.runners:
            runner.after(1, runner.wake)

    def ask_to_cancel(self, job_id: str) -> None:
        self.client.spawn(self._asking_to_cancel(job_id, self.new_id()), "canceling")

    def _asking_to_cancel(self, job_id: str, event_id: str) -> Steps[None]:
        server, event = self.server, CancelRequested(reason="no longer wanted")
        try:
            yield from ask(REDIS, lambda: server.append(job_id, event_id, event), "cancel")
        except Unavailable:
            return
        for runner in self.runners:
            run = runner.runs.get(job_id)
            if run is not None and self.agenda.chance(0.6):
                runner.after(1, run.wake_up)

    # What is written down.

    def _record(self, record: Recorded, author: Author, event_id: str) -> None:
        if self.is_tracing:
            self.note("log", record.job_id, record.seq, "epoch", record.epoch, record.event)
        self.checker.record(record, author, event_id)

    def note(self, who: str, *words: object) -> None:
        if self.is_tracing:
            at_s = (self.agenda.now_ms - START_MS) / 1000
            self.trace.append(f"{at_s:9.3f} {who:<10} {' '.join(map(str, words))}")


def draw_policy(random: Random) -> Policy:
    return Policy(
        retries=random.choice((0, 1, 1, 3)),
        retry_backoff_s=random.choice((0.5, 5.0)),
        crash_limit=random.choice((2, 3, 5)),
        queue_deadline_s=random.choice((None, None, None, 8.0)),
        run_deadline_s=random.choice((None, None, 6.0)),
        stall_deadline_s=random.choice((None, None, None, 4.0)),
        recovery_max_age_s=random.choice((None, 600.0, 12.0)),
        backend_away_s=random.choice((8.0, 8.0, 30.0, None)),
        stop_within_s=random.choice((30.0, 5.0)),
    )
