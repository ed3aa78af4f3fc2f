"""W3C trace contexts: what is one, what is none, and whose trace a submit belongs to."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.appending.log import Log
from everfold.streams.events.event import Submitted
from everfold.streams.reading.reader import job_events
from everfold.streams.telemetry.caller_trace import caller_trace, given_traceparent
from everfold.streams.telemetry.trace_context import TraceContext, read_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
GRAPH = {"1": {"class_type": "A", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield log


def test_a_traceparent_is_read_and_written() -> None:
    found = read_traceparent(TRACEPARENT)

    assert found == TraceContext(TRACE, SPAN, is_sampled=True)
    assert str(found) == TRACEPARENT
    assert read_traceparent(f" 00-{TRACE}-{SPAN}-02\t") == TraceContext(TRACE, SPAN, False)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert str(read_traceparent(f"cc-{TRACE}-{SPAN}-01-what-comes")) == TRACEPARENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"{TRACEPARENT}, {TRACEPARENT}",
        f"{TRACEPARENT}\n",
        f"cc-{TRACE}-{SPAN}-01-\x1b[2J",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * 1_000_000,
        TRACEPARENT.translate({ord("0"): "\uff10"}),
        7,
        None,
        [TRACEPARENT],
        b"x",
    ],
)
def test_what_is_none_is_ignored(text: object) -> None:
    assert read_traceparent(text) is None


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_no_text_is_an_error(text: str) -> None:
    found = read_traceparent(text)
    assert found is None or read_traceparent(str(found)) == found


def test_a_child_is_the_same_span_wherever_it_is_named() -> None:
    parent = TraceContext(TRACE, SPAN)

    assert parent.child("job", "wait", 1) == parent.child("job", "wait", 1)
    assert len({parent.child("job", "wait", n).span_id for n in range(1000)}) == 1000
    assert read_traceparent(str(parent.child("\ud800"))) is not None


def test_a_caller_is_named_or_that_of_the_request_or_of_the_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    assert caller_trace() is None
    with given_traceparent(TRACEPARENT):
        assert str(caller_trace()) == TRACEPARENT
        assert caller_trace("") is None
        assert caller_trace("nonsense") is None
    assert caller_trace() is None

    current = SimpleNamespace(trace_id=int(TRACE, 16), span_id=7, trace_flags=1)
    span = SimpleNamespace(get_span_context=lambda: current)
    loaded = SimpleNamespace(get_current_span=lambda: span)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", loaded)
    with given_traceparent(TRACEPARENT):
        assert str(caller_trace()) == f"00-{TRACE}-{7:016x}-01"


async def stored(log: Log, job_id: str) -> object:
    (first,) = await job_events(log, job_id)
    assert isinstance(first.event, Submitted)
    return first.event.trace or ""


@pytest.mark.anyio
async def test_the_first_event_has_the_callers_span_and_a_repeat_keeps_it(log: Log) -> None:
    made = await log.submit(GRAPH, idempotency_key="k", traceparent=TRACEPARENT)
    other = f"00-{'a' * 32}-{SPAN}-01"
    again = await log.submit(GRAPH, idempotency_key="k", traceparent=other)

    assert (again.job_id, again.created) == (made.job_id, False)
    assert await stored(log, made.job_id) == TRACEPARENT


@pytest.mark.anyio
async def test_what_is_no_traceparent_is_not_stored(log: Log) -> None:
    made = await log.submit(GRAPH, traceparent="DROP TABLE")
    assert await stored(log, made.job_id) == ""


@pytest.mark.anyio
async def test_a_program_with_opentelemetry_submits_in_its_current_span(log: Log) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), False, trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        made = await log.submit(GRAPH)
    assert await stored(log, made.job_id) == TRACEPARENT
