"""The fold of a farm: jobs, counts, and what it does not keep."""

from __future__ import annotations

import sys

import pytest

from everfold.projector.job.job import Job
from everfold.streams.events.event import (
    Claimed,
    Event,
    Outputs,
    Policy,
    Progressed,
    Started,
    Submitted,
    Submitting,
    Succeeded,
)
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_message import Began, LiveEntry, NodeBegan, Steps
from everfold.web.farm import farm_state
from everfold.web.farm.farm_state import HELD, WAITING, FarmState, Place, unknown_of
from everfold.web.farm.own_jobs import OwnJobs
from everfold.web.farm.stream.live_nodes import LiveNodes
from everfold.web.farm.summaries import summary_of

WAITS = Place(WAITING, "default", "normal")
HOLDS = Place(HELD, "default", "normal")


def submitted(user: str = "ada") -> Submitted:
    return Submitted(
        kind="k", user=user, queue="default", priority="normal", workflow="0" * 64,
        metadata={"a": "b" * 1000}, policy=Policy(),
    )  # fmt: skip


def record(seq: int, event: Event, job_id: str = "job") -> Recorded:
    return Recorded(f"{1000 + seq}-0", job_id, seq, 1, "0-0", event, b"{}")


def run(outputs: Outputs | None = None) -> list[Event]:
    return [
        submitted(),
        Claimed(owner="r1"),
        Submitting(attempt=1, backend="http://a", boot="b1", prompt_id="p", client_id="c"),
        Started(attempt=1),
        Progressed(attempt=1, value=0.5, nodes_done=1, nodes_total=2, left_s=7),
        Succeeded(attempt=1, outputs=outputs or {}),
    ]


def test_a_job_is_held_from_its_claim_to_its_end() -> None:
    state, held = FarmState(), list[bool]()
    for seq, event in enumerate(run(), 1):
        assert state.add(record(seq, event))
        held.append("job" in state.held)

    assert held == [False, True, True, True, True, False]
    assert [summary_of(job).status for job in state.take_changed()] == ["succeeded"]
    assert state.take_changed() == []
    assert state.boots == {("http://a", ""): "b1"}


def test_counts_move_by_the_events_after_a_sample() -> None:
    state = FarmState()
    for seq, event in enumerate(run()[:2], 1):
        state.add(record(seq, event))

    assert dict(state.moved_since(1000)) == {WAITS: 0, HOLDS: 1}
    assert dict(state.moved_since(1001)) == {WAITS: -1, HOLDS: 1}
    assert dict(state.moved_since(1002)) == {}


def test_what_is_not_known_is_asked_for_and_then_told() -> None:
    state, events = FarmState(), run()
    claimed = record(2, events[1])
    assert unknown_of(state, [claimed, record(3, events[2])]) == {"job": 1}
    assert not state.add(claimed)

    state.learn(Job(job_id="job", owner="r1", seq=2, claimed_at_ms=1002), [claimed])

    assert state.add(claimed)
    assert state.add(record(3, events[2]))
    assert unknown_of(state, [record(5, events[4])]) == {"job": 4}
    assert dict(state.moved_since(1000)) == {WAITS: -1, HOLDS: 1}
    assert [job.seq for job in state.take_changed()] == [3]


def test_what_is_large_is_not_kept() -> None:
    outputs: Outputs = {"9": {"images": [{"filename": "x" * 10_000}]}}
    state = FarmState()
    for seq, event in enumerate(run(outputs), 1):
        state.add(record(seq, event))

    job = state.job("job")
    assert job is not None
    assert (job.outputs, job.metadata, job.workflow) == ({}, {}, "")
    assert sys.getsizeof(job) < 1000


def test_jobs_that_wait_take_no_more_memory_than_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farm_state, "RECENT_LIMIT", 10)
    state = FarmState()
    for number in range(100):
        state.add(record(1, submitted(), f"job-{number}"))

    assert sum(state.job(f"job-{number}") is not None for number in range(100)) == 10


def test_a_users_jobs_are_those_of_the_list_and_those_seen_since() -> None:
    own = OwnJobs()
    own.note(Job(job_id="new", seq=1))
    own.note(Job(job_id="ended", status="succeeded", seq=9))
    own.load([Job(job_id="ended", status="running", seq=8), Job(job_id="old", seq=1)], is_cut=False)
    own.note(Job(job_id="old", status="running", owner="r1", seq=2))

    assert (own.counts.queued, own.counts.running, own.counts.is_cut) == (1, 1, False)
    assert own.waiting() == {("default", ""): ["new"]}


def test_of_node_progress_the_newest_is_told_once() -> None:
    live = LiveNodes("job")
    for message in (Began(), NodeBegan("3"), Steps("3", 1, 4), Steps("3", 2, 4)):
        live.note(LiveEntry("job", 1, message))

    told = live.take()
    assert told is not None
    assert (told.node, told.nodes["3"].value, told.attempt) == ("3", 2, 1)
    assert live.take() is None
