"""The Chrome trace: the keys that Perfetto wants, and nothing negative."""

from __future__ import annotations

import json
from typing import TypedDict

import msgspec
import pytest

from everfold.timeline.trace import trace
from everfold.timeline.tracks import track
from tests.everfold.timeline.stories import DONE, START_MS, begun, crowd, recovered, strange, told


class TraceEvent(TypedDict, total=False):
    ph: str
    name: str
    ts: int
    dur: int
    pid: int
    tid: int
    s: str
    args: dict[str, str]


LANES = [track(events, START_MS + 60_000) for events in crowd(40)]


def traced(by: str = "job") -> list[TraceEvent]:
    document = json.loads(msgspec.json.encode(trace(LANES, by)))
    return msgspec.convert(document["traceEvents"], list[TraceEvent])


def of(phase: str, events: list[TraceEvent]) -> list[TraceEvent]:
    return [event for event in events if event["ph"] == phase]


@pytest.mark.parametrize("by", ["job", "backend"])
def test_every_event_has_its_keys_and_a_named_process_and_thread(by: str) -> None:
    events = traced(by)
    complete, instant, names = (of(phase, events) for phase in "XiM")
    assert len(complete) + len(instant) + len(names) == len(events)
    assert all(event["dur"] > 0 and event["ts"] >= START_MS * 1000 for event in complete)
    assert all(event["s"] == "t" and event["ts"] >= START_MS * 1000 for event in instant)
    processes = {event["pid"] for event in names if event["name"] == "process_name"}
    threads = {(event["pid"], event["tid"]) for event in names if event["name"] == "thread_name"}
    assert {event["pid"] for event in complete + instant} == processes
    assert {(event["pid"], event["tid"]) for event in complete + instant} == threads


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("job", {"held by no runner", "runner-9", *(f"runner-{i}" for i in range(4))}),
        (
            "backend",
            {"at no backend", "http://a:8188", *(f"http://gpu-{i}:8188" for i in range(4))},
        ),
    ],
)
def test_processes_are_runners_or_backends(by: str, expected: set[str]) -> None:
    names = [event for event in traced(by) if event["name"] == "process_name"]
    assert {event["args"]["name"] for event in names} == expected


def test_times_are_microseconds() -> None:
    found = trace([track(told([*begun(), (2_000, DONE)]), 0)])["traceEvents"]
    events = msgspec.convert(found, list[TraceEvent])
    assert [(e["ts"], e["dur"]) for e in of("X", events)][-1] == (300_000, 1_700_000)


def test_a_recovery_is_an_instant_in_the_time_of_recovering() -> None:
    story = [*begun(), (5_000, recovered()), (6_000, DONE)]
    found = trace([track([*told(story), strange(6_500, 8)], 9_000)])["traceEvents"]
    events = msgspec.convert(found, list[TraceEvent])
    instants = {event["name"]: event for event in of("i", events)}
    [recovering] = [event for event in events if event["name"] == "recovering"]
    assert set(instants) == {"recovered", "unreadable", "succeeded"}
    assert instants["recovered"]["ts"] == 5_000_000
    assert instants["recovered"]["pid"] == recovering["pid"]
