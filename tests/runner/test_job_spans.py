"""The spans of a job are made of its events alone, whatever became of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.runner.telemetry.job_spans import spans_of
from everfold.runner.telemetry.job_trace import JobTrace, trace_of
from everfold.streams.events import event as events
from everfold.streams.events.codec import encode
from everfold.streams.events.event import Event
from everfold.streams.events.record import Recorded
from everfold.streams.telemetry import tracing
from everfold.streams.telemetry.tracing import Exporter, Span

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MARK = "Zx9Qv"
FAILURE = events.Failure(code="execution_error", message=MARK)

SUBMITTED = events.Submitted(
    kind=MARK, user=MARK, queue="default", priority="normal", workflow="0" * 64,
    metadata={"note": MARK}, policy=events.Policy(), trace=CALLER, tags=(MARK,),
)  # fmt: skip
CLAIMED = events.Claimed(owner="anna")
STARTED, QUEUED = events.Started(attempt=1), events.Queued(attempt=1, prompt_id="p")
DRAIN = events.Released(reason="drain")
DONE = events.Succeeded(attempt=1, outputs={}, ended_at_ms=5_500)


def sending(attempt: int) -> events.Submitting:
    return events.Submitting(
        attempt=attempt, backend="http://gpu1", boot="", prompt_id="p", client_id="c"
    )


def recovered(idle_ms: int = 500) -> events.Recovered:
    return events.Recovered(
        owner="bert", previous_owner="anna", crashes=1, idle_ms=idle_ms, reason="lease_expired"
    )


def history(*appended: Event) -> list[Recorded]:
    """Return the events as the log has them, a second apart."""
    found, epoch = list[Recorded](), 0
    for seq, event in enumerate(appended, 1):
        epoch += isinstance(event, events.Claimed | events.Recovered)
        at = f"{seq * 1_000}-0"
        found.append(Recorded(at, "job", seq, epoch, "0-0", event, encode(event)))
    return found


def spans(records: list[Recorded], first: int = 0) -> list[Span]:
    job = fold(records, Job(job_id="job"))
    return spans_of(job, records[first:], trace_of(job, "generation"))


@pytest.fixture(autouse=True)
def exporting() -> Iterator[None]:
    tracing.install(Exporter(lambda _: None, lambda _: True))
    yield
    tracing.install(None)


def shape(found: list[Span]) -> list[tuple[str, int, int, str]]:
    return [(one.name.split()[0], one.start_ms, one.end_ms, one.error) for one in found]


def check_whole(found: list[Span], caller: str = "00f067aa0ba902b7") -> None:
    ids = [one.span_id for one in found]
    assert len(ids) == len(set(ids))
    assert {one.parent_id for one in found} - set(ids) == {caller}
    assert {link for one in found for link in one.links} <= set(ids)
    assert all(1_000 <= one.start_ms <= one.end_ms for one in found)
    assert MARK not in repr(found)


def test_a_job_that_runs_once() -> None:
    found = spans(history(SUBMITTED, CLAIMED, sending(1), QUEUED, STARTED, DONE))

    check_whole(found)
    assert shape(found) == [
        ("submit", 1_000, 1_000, ""),
        ("wait", 1_000, 2_000, ""),
        ("receive", 2_000, 2_000, ""),
        ("process", 3_000, 5_500, ""),
        ("collect", 5_500, 6_000, ""),
        ("end", 6_000, 6_000, ""),
    ]
    assert list(found[3].events) == [("accepted", 4_000), ("started", 5_000)]


def test_an_attempt_goes_on_with_another_runner() -> None:
    found = spans(history(SUBMITTED, CLAIMED, sending(1), STARTED, recovered(), DONE))

    check_whole(found)
    assert shape(found)[3:] == [
        ("process", 3_000, 4_500, "lease_expired"),
        ("receive", 4_500, 5_000, ""),
        ("process", 5_000, 5_500, ""),
        ("collect", 5_500, 6_000, ""),
        ("end", 6_000, 6_000, ""),
    ]
    assert found[3].span_id in found[5].links
    assert found[5].attributes["everfold.runner"] == "bert"


def test_a_drain_hands_the_attempt_over_without_an_error() -> None:
    found = spans(history(SUBMITTED, CLAIMED, sending(1), DRAIN, CLAIMED, DONE))

    check_whole(found)
    assert [name for name, *_ in shape(found)] == [
        *("submit", "wait", "receive", "process", "wait", "receive", "process", "collect"),
        "end",
    ]
    assert not any(one.error for one in found)


def test_each_attempt_has_a_span_with_its_error() -> None:
    retried = events.Retried(attempt=1, failure=FAILURE, not_before_ms=0)
    lost = events.Lost(attempt=2, backend="http://gpu1", cause="backend_restarted")
    failed = events.Failed(attempt=3, failure=FAILURE)
    found = spans(
        history(
            SUBMITTED, CLAIMED, sending(1), retried, CLAIMED, sending(2), lost, sending(3), failed
        )
    )

    check_whole(found)
    processes = [one for one in found if one.name.startswith("process")]
    assert [one.error for one in processes] == [
        "execution_error",
        "backend_restarted",
        "execution_error",
    ]
    assert [one.attributes["everfold.attempt"] for one in processes] == [1, 2, 3]


def test_a_job_that_never_ran_has_waited_until_its_end() -> None:
    found = spans(history(SUBMITTED, events.Expired(reason="queue_deadline")))

    check_whole(found)
    assert shape(found) == [
        ("submit", 1_000, 1_000, ""),
        ("wait", 1_000, 2_000, ""),
        ("end", 2_000, 2_000, "expired"),
    ]


@pytest.mark.parametrize("first", range(1, 6))
def test_a_trace_without_its_trimmed_beginning_has_no_orphans(first: int) -> None:
    records = history(SUBMITTED, CLAIMED, sending(1), STARTED, recovered(), DONE)
    check_whole(spans(records, first))


def test_a_backends_clock_may_be_any_time() -> None:
    for ended_at_ms in (0, 1, 10**15):
        done = events.Succeeded(attempt=1, outputs={}, ended_at_ms=ended_at_ms)
        check_whole(spans(history(SUBMITTED, CLAIMED, sending(1), STARTED, done)))
    check_whole(spans(history(SUBMITTED, CLAIMED, sending(1), recovered(10**15), DONE)))


def test_an_event_names_the_span_that_is_exported() -> None:
    records = history(SUBMITTED, CLAIMED, sending(1), STARTED, recovered(), DONE)
    found = {one.span_id: one.name.split()[0] for one in spans(records)}
    trace = JobTrace("job", "generation", CALLER)

    named = [found[trace.of_event(one.event, one.epoch, 1).span_id] for one in records[2:]]  # type: ignore[arg-type]
    assert named == ["process", "process", "process", "end"]
