"""The same model driven by hypothesis, which chooses the faults itself and shrinks what fails."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.simulation.breakages import broken, unreachable_is_lost
from tests.simulation.faults import KINDS, Weather
from tests.simulation.invariants import Violation
from tests.simulation.runner import Runner
from tests.simulation.world import Options, World

BROKEN_WIRES = Weather(lost_request=0.05, lost_reply=0.05, slow=0.1, late_post=0.4, garbled=0.2)


class SimulatedRunners(RuleBasedStateMachine):
    options = Options(weather=BROKEN_WIRES, jobs=1)

    world: World

    @initialize(seed=st.integers(0, 999))
    def begin(self, seed: int) -> None:
        self.world = World(seed, self.options)

    def _runners(self) -> list[Runner]:
        return [runner for runner in self.world.runners if runner.is_alive]

    @rule(steps=st.integers(1, 60))
    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.world.step()

    @rule(ms=st.sampled_from((10, 300, 1_500, 5_000, 12_000)))
    def let_time_pass(self, ms: int) -> None:
        until_ms = self.world.agenda.now_ms + ms
        while self.world.agenda.now_ms < until_ms:
            self.world.step()

    @precondition(lambda self: self._runners())
    @rule(kind=st.sampled_from(KINDS), which=st.integers(0, 3))
    def strike(self, kind: str, which: int) -> None:
        runners = self._runners()
        self.world.faults.cause(kind, runners[which % len(runners)])

    @precondition(lambda self: len(self.world.job_ids) < 4)
    @rule()
    def submit(self) -> None:
        self.world.submit()

    @rule()
    def start_a_runner(self) -> None:
        self.world.add_runner()

    @invariant()
    def what_runners_know_is_what_the_log_says(self) -> None:
        for runner in self.world.runners:
            for run in runner.runs.values():
                job = run.job_log.job
                if job.seq:
                    self.world.checker.knows(runner.name, job)

    def teardown(self) -> None:
        """When the faults stop, every job ends."""
        if hasattr(self, "world"):
            self.world.calm_down()
            self.world.settle()


DETERMINISTIC = settings(
    derandomize=True,
    database=None,
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
"""The same examples each time; to look for new ones, take `derandomize` out."""


@pytest.mark.slow
@pytest.mark.long
def test_no_choice_of_faults_breaks_an_invariant(full_length: bool) -> None:
    examples = 5_000 if full_length else DETERMINISTIC.max_examples
    run_state_machine_as_test(
        SimulatedRunners, settings=settings(DETERMINISTIC, max_examples=examples)
    )


def test_the_machine_notices_a_broken_model() -> None:
    class Broken(SimulatedRunners):
        options = broken(BROKEN_WIRES, decide=unreachable_is_lost)

    with pytest.raises(Violation):
        run_state_machine_as_test(Broken, settings=settings(DETERMINISTIC, phases=[Phase.generate]))
