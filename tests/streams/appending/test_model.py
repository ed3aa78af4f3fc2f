"""Random calls of several runners against a model of two jobs, on the real server.

The model is a few fields per job; after each step the server must agree with it, and what must
hold of every log is checked besides.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import TypeVar
from uuid import uuid4

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.outcomes import Appended, Lease, LeaseOver, Renewed
from everfold.streams.errors import Conflict, EverfoldError
from everfold.streams.events.event import (
    CLOSING_STATUS,
    Canceled,
    CancelRequested,
    Event,
    Failure,
    Released,
    Retried,
    Started,
    Succeeded,
)
from everfold.streams.events.record import Recorded
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.fairness import all_lanes
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.keys import PRIORITIES, RELEASED
from tests.streams.appending.model import Model
from tests.streams.events.stored import stored
from tests.support import servers

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
LANES = all_lanes(["default"])
QUEUES = ["default"]
JOBS = ("one", "two")
RUNNERS = ("r1", "r2", "r3")
FAR_MS = 4_000_000_000_000
FAILURE = Failure(code="out_of_memory", message="no room", retryable=True)
T = TypeVar("T")


class Machine(RuleBasedStateMachine):
    portal: BlockingPortal
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.namespace = f"model-{uuid4().hex[:8]}"
        self.opened = self.portal.wrap_async_context_manager(
            Log.open(self.url, namespace=self.namespace, partitions=1)
        )
        self.log = self.opened.__enter__()
        self.runners = {name: Dispatch(self.log, name) for name in RUNNERS}
        self.model: dict[str, Model] = {}
        self.asked: dict[str, tuple[str, int]] = {}
        """Job -> what it was submitted with; a repeat asks for the same."""
        self.leases: list[Lease] = []
        self.history: dict[str, list[Recorded]] = {job: [] for job in JOBS}

    def teardown(self) -> None:
        self.opened.__exit__(None, None, None)
        servers.delete_namespace(self.url, self.namespace)

    def call(self, do: Callable[[], Awaitable[T]]) -> T:
        return self.portal.call(do)

    def outcome(self, do: Callable[[], Awaitable[T]]) -> T | EverfoldError:
        try:
            return self.call(do)
        except EverfoldError as error:
            return error

    # Making jobs known

    @rule(
        job=st.sampled_from(JOBS),
        priority=st.sampled_from(PRIORITIES),
        due_ms=st.sampled_from([0, 1, FAR_MS]),
    )
    def submit(self, job: str, priority: str, due_ms: int) -> None:
        priority, due_ms = self.asked.setdefault(job, (priority, due_ms))
        made = self.call(
            lambda: self.log.submit(GRAPH, job_id=job, priority=priority, run_at_ms=due_ms or None)
        )
        assert made.created == (job not in self.model)
        if made.created:
            phase = "later" if due_ms else "waiting"
            self.model[job] = Model(phase=phase, priority=priority, due_ms=due_ms)

    # Leases

    @rule(runner=st.sampled_from(RUNNERS), most=st.integers(1, 3))
    def claim(self, runner: str, most: int) -> None:
        leases = self.call(lambda: self.runners[runner].claim(0, QUEUES, most))
        waiting = [job for job, model in self.model.items() if model.phase == "waiting"]
        assert {lease.job_id for lease in leases} <= set(waiting)
        assert len(leases) == min(most, len(waiting))
        for lease in leases:
            self._leased(lease, runner)

    @rule(
        runner=st.sampled_from(RUNNERS),
        suspect=st.sampled_from(["", *RUNNERS]),
        idle_limit_s=st.sampled_from([0, 3600]),
        priority=st.sampled_from(PRIORITIES),
    )
    def take_over(self, runner: str, suspect: str, idle_limit_s: int, priority: str) -> None:
        lane = ("default", priority)
        _, leases = self.call(
            lambda: self.runners[runner].take_over(
                0, lane, idle_limit_s=idle_limit_s, suspect=suspect
            )
        )
        expected = {
            job
            for job, model in self.model.items()
            if model.priority == priority and self._orphaned(model, runner, suspect, idle_limit_s)
        }
        assert {lease.job_id for lease in leases} == expected
        for lease in leases:
            self.model[lease.job_id].crashes += self.model[lease.job_id].phase == "leased"
            self._leased(lease, runner)

    def _orphaned(self, model: Model, runner: str, suspect: str, idle_limit_s: int) -> bool:
        if model.phase == "released":
            return not suspect
        if model.phase != "leased" or model.owner == runner:
            return False
        return model.owner == suspect if suspect else idle_limit_s == 0

    def _leased(self, lease: Lease, runner: str) -> None:
        model = self.model[lease.job_id]
        model.phase, model.owner = "leased", runner
        model.seq, model.epoch = model.seq + 1, model.epoch + 1
        assert (lease.seq, lease.epoch, lease.runner) == (model.seq, model.epoch, runner)
        assert lease.priority == model.priority
        self.leases.append(lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        model = self.model[lease.job_id]
        [found] = self.call(lambda: self.runners[lease.runner].renew([lease]))
        held = (model.phase, model.epoch) == ("leased", lease.epoch)
        assert found == (Renewed(model.canceling) if held else LeaseOver(model.epoch))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), due_ms=st.sampled_from([0, 1, FAR_MS]))
    def release(self, data: st.DataObject, due_ms: int) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        model = self.model[lease.job_id]
        retried = Retried(attempt=1, failure=FAILURE, not_before_ms=due_ms)
        event = retried if due_ms else Released(reason="drain")
        refusal = model.appends(lease.epoch, lease.runner)
        found = self.outcome(lambda: self.runners[lease.runner].release(lease, event))
        self._agree(found, refusal, model)
        if refusal is None:
            model.owner, model.due_ms = "", due_ms
            model.phase = "later" if due_ms and not model.canceling else "released"

    @rule()
    def promote(self) -> None:
        promotion = self.call(lambda: self.runners["r1"].promote(0))
        now_ms = int(time.time() * 1000)
        later = [model for model in self.model.values() if model.phase == "later"]
        due = [model for model in later if model.due_ms <= now_ms]
        assert promotion.promoted == len(due)
        for model in due:
            model.phase = "waiting"
        assert promotion.next_due_ms == (FAR_MS if len(later) > len(due) else 0)

    # Events

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), end=st.booleans(), repeat=st.booleans())
    def append(self, data: st.DataObject, end: bool, repeat: bool) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        event: Event = Succeeded(attempt=1, outputs={}) if end else Started(attempt=1)
        self._append(lease.job_id, event, lease.epoch, lease.runner, repeat)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), repeat=st.booleans())
    def ask_to_cancel(self, data: st.DataObject, repeat: bool) -> None:
        job = data.draw(st.sampled_from(sorted(self.model)))
        if self._was_canceled(job):
            return
        if self._append(job, CancelRequested(), 0, "", repeat) is None:
            self.model[job].canceling = True

    def _was_canceled(self, job: str) -> bool:
        """Say whether somebody asked before; check then that a repeat finds that request."""
        model = self.model[job]
        if not model.canceling or model.status != "open":
            return False
        found = self.outcome(lambda: self.log.append(job, CancelRequested(), epoch=0))
        assert isinstance(found, Appended)
        assert found.duplicate
        return True

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cancel_where_nobody_works(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.model)))
        self._append(job, Canceled(), UNLEASED, "", False)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), behind=st.integers(-1, 2))
    def append_at(self, data: st.DataObject, behind: int) -> None:
        job = data.draw(st.sampled_from(sorted(self.model)))
        if self._was_canceled(job):
            return
        expected = max(self.model[job].seq - behind, 0)
        found = self.outcome(
            lambda: self.log.append(job, CancelRequested(), epoch=0, expected=expected)
        )
        if isinstance(found, Appended):
            assert (behind, found.seq) == (0, expected + 1)
            self.model[job].seq += 1
            self.model[job].canceling = True
        else:
            assert isinstance(found, Conflict)

    def _append(
        self, job: str, event: Event, epoch: int, holder: str, repeat: bool
    ) -> type[EverfoldError] | None:
        model, event = self.model[job], self.log.stamp(event)
        end = CLOSING_STATUS.get(type(event), "")  # type: ignore[arg-type]  # a miss is the answer
        refusal = model.appends(epoch, holder, end)
        for _ in range(1 + repeat):
            found = self.outcome(lambda: self.log.append(job, event, epoch=epoch, holder=holder))
            self._agree(found, refusal, model)
        return refusal

    def _agree(
        self, found: Appended | EverfoldError, refusal: type[EverfoldError] | None, model: Model
    ) -> None:
        if refusal is None:
            assert isinstance(found, Appended), found
            assert found.seq == model.seq
        else:
            assert isinstance(found, refusal), found

    # What must hold at all times

    @invariant()
    def the_server_agrees_with_the_model(self) -> None:
        now = self.call(lambda: stored(self.log))
        places = [*now.dispatch.values(), *now.waiting, *now.later]
        still_open = [job for job, model in self.model.items() if model.status == "open"]
        assert sorted(places) == sorted(still_open)
        assert sum(now.graphs.values()) == len(still_open)
        held = {
            now.dispatch[dispatch_id]: consumer for dispatch_id, consumer in now.pending.items()
        }
        assert held == {
            job: RELEASED if model.phase == "released" else model.owner
            for job, model in self.model.items()
            if model.phase in ("leased", "released")
        }
        for job, model in self.model.items():
            head = self.call(lambda job=job: stored(self.log, job)).head  # type: ignore[misc]
            assert (int(head["seq"]), int(head["epoch"])) == (model.seq, model.epoch)
            assert (head["status"], head["phase"]) == (model.status, model.phase)
            assert int(head.get("crashes", 0)) == model.crashes

    @invariant()
    def every_history_keeps_its_promises(self) -> None:
        for job, model in self.model.items():
            records = self.call(lambda job=job: job_events(self.log, job))  # type: ignore[misc]
            assert [record.seq for record in records] == list(range(1, model.seq + 1))
            assert all(a.epoch <= b.epoch for a, b in pairwise(records))
            assert all(b.previous == a.entry_id for a, b in pairwise(records))
            ends = [type(record.event) in CLOSING_STATUS for record in records]
            assert sum(ends) == (model.status != "open")
            assert ends[-1] == (model.status != "open")
            assert records[: len(self.history[job])] == self.history[job], "history was changed"
            self.history[job] = records


@pytest.mark.long
@pytest.mark.parametrize("steps", [12, 40])
def test_the_log_does_what_the_model_says_whatever_runners_do(redis_url: str, steps: int) -> None:
    with start_blocking_portal("asyncio") as portal:
        Machine.portal, Machine.url = portal, redis_url
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=30 if steps == 12 else 20,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
