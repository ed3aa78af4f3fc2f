"""What a projector counts of jobs equals what happened, once, however often it is read."""

from __future__ import annotations

import math

import pytest

from everfold.projector.folding.job_measures import (
    ENDED,
    RECOVERIES,
    RECOVERY_S,
    RETRIED,
    REWOUND,
    RUN_S,
    SUBMITTED,
    WAIT_S,
    count_events,
)
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.folding.run_times import QUEUES_LIMIT, RunTimes, learned, read_run_times
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.events.event import (
    Event,
    Expired,
    Failed,
    Failure,
    Lost,
    Policy,
    Recovered,
    Retried,
    Rewound,
    Started,
    Submitted,
    Submitting,
    Succeeded,
)
from everfold.streams.events.record import Recorded
from everfold.streams.redis.redis_errors import command
from everfold.streams.telemetry.measures import OTHERS, Counter, Histogram
from tests.projector.jobs import (
    assert_projected,
    make_group_again,
    make_jobs,
    projecting,
    work,
)

pytestmark = pytest.mark.anyio

MEASURES = (ENDED, RECOVERIES, RECOVERY_S, RETRIED, REWOUND, RUN_S, SUBMITTED, WAIT_S)
FAILURE = Failure(code="execution_error", message="no memory")
BEGIN = Submitting(attempt=1, backend="b", boot="m", prompt_id="p", client_id="c")


@pytest.fixture(autouse=True)
def counted_anew() -> None:
    """Measures are those of the process: each test begins at zero."""
    for one in MEASURES:
        one.clear()


def total(counter: Counter) -> float:
    return sum(counter.series.values())


def seen(histogram: Histogram) -> int:
    return sum(sum(one.counts) for one in histogram.series.values())


def submitted(run_at_ms: int | None = None, queue: str = "q") -> Submitted:
    return Submitted(
        kind="k", user="u", queue=queue, priority="high", workflow="", metadata={},
        policy=Policy(), run_at_ms=run_at_ms,
    )  # fmt: skip


def told(*timed: tuple[int, Event]) -> list[Recorded]:
    """Return events of a job, each with the second in which it happened."""
    return [
        Recorded(
            entry_id=f"{1_000_000 + at_s * 1000}-0", job_id="j", seq=seq, epoch=1, previous="0-0",
            payload=b"", event=event,
        )
        for seq, (at_s, event) in enumerate(timed, start=1)
    ]  # fmt: skip


def count(records: list[Recorded], at_once: int) -> None:
    """Fold and count `at_once` events at a time."""
    job = Job()
    for start in range(0, len(records), at_once):
        after = fold(records[start : start + at_once], job)
        count_events(job, after, records[start : start + at_once])
        job = after


EVERY = pytest.mark.parametrize("at_once", [1, 2, 100])


@EVERY
def test_a_job_is_counted_from_its_submit_to_its_end(at_once: int) -> None:
    records = told(
        (0, submitted()), (1, BEGIN), (3, Started(attempt=1)),
        (10, Succeeded(attempt=1, outputs={})),
    )  # fmt: skip
    count(records, at_once)

    assert SUBMITTED.series == {("q", "high"): 1}
    assert ENDED.series == {("q", "succeeded", ""): 1}
    assert WAIT_S.series["q",].sum == 3
    assert RUN_S.series["k",].sum == 7


@EVERY
def test_only_the_first_start_is_a_wait(at_once: int) -> None:
    again = Submitting(attempt=2, backend="b", boot="m", prompt_id="p", client_id="c")
    records = told(
        (0, submitted()), (1, BEGIN), (2, Started(attempt=1)),
        (3, Lost(attempt=1, backend="b", cause="backend_restarted")),
        (4, again), (50, Started(attempt=2)), (60, Failed(failure=FAILURE, attempt=2)),
    )  # fmt: skip
    count(records, at_once)

    assert WAIT_S.series["q",].sum == 2
    assert RUN_S.series["k",].sum == 10
    assert ENDED.series == {("q", "failed", "execution_error"): 1}


@EVERY
def test_recoveries_retries_and_lost_writes_are_counted(at_once: int) -> None:
    taken = Recovered(
        owner="b", previous_owner="a", crashes=1, idle_ms=2500, reason="lease_expired"
    )
    records = told(
        (0, submitted()), (1, taken), (2, BEGIN), (3, Started(attempt=1)),
        (4, Retried(attempt=1, failure=FAILURE, not_before_ms=0)),
        (5, Rewound(seen_seq=5, found_seq=4)), (6, Expired(reason="stale")),
    )  # fmt: skip
    count(records, at_once)

    assert RECOVERIES.series == {("lease_expired",): 1}
    assert RECOVERY_S.series[()].sum == 2.5
    assert (total(RETRIED), total(REWOUND)) == (1, 1)
    assert ENDED.series == {("q", "expired", "stale"): 1}


def test_a_job_for_later_waits_from_its_time_on() -> None:
    late = 1_000_000 + 100 * 1000
    count(told((0, submitted(run_at_ms=late)), (1, BEGIN), (101, Started(attempt=1))), 1)

    assert WAIT_S.series["q",].sum == 1


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    count(told((50, submitted()), (51, BEGIN), (1, Started(attempt=1))), 1)
    count(told((0, submitted()), (0, Rewound(seen_seq=9, found_seq=1)), (0, BEGIN)), 1)

    assert WAIT_S.series["q",].sum == 0


def test_names_that_people_make_up_are_bounded_and_counted() -> None:
    for number in range(1_000):
        count(told((0, submitted(queue=f"q{number}")), (1, Expired(reason=f"r{number}"))), 2)

    assert total(SUBMITTED) == total(ENDED) == 1_000
    assert len(SUBMITTED.series) < 300
    assert len(ENDED.series) < 300
    assert ENDED.series[OTHERS, "expired", OTHERS] >= 700


async def test_a_projector_counts_what_it_commits_and_a_new_one_nothing_again(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 12)
        await work(log)
        await assert_projected(log, jobs)
    await make_group_again(log)
    async with projecting(log):
        more = await make_jobs(log, 3)
        await assert_projected(log, jobs + more)

    assert total(SUBMITTED) == 15
    assert ENDED.series == {("default", "succeeded", ""): 12}
    assert seen(WAIT_S) == seen(RUN_S) == 12


async def test_a_rebuild_counts_and_learns_nothing(log: Log) -> None:
    await make_jobs(log, 5)
    await work(log)
    await Rebuild(log, JobsProjection()).run()

    assert total(SUBMITTED) == total(ENDED) == seen(RUN_S) == 0
    assert await read_run_times(log) == {}


async def test_run_times_are_learned_by_queue(log: Log) -> None:
    async with projecting(log):
        jobs = await make_jobs(log, 4)
        await work(log)
        await assert_projected(log, jobs)
    found = await read_run_times(log)

    assert set(found) == {"default"}
    assert 0 <= found["default"].mean_s < 30


async def test_what_is_stored_of_run_times_may_be_anything(log: Log) -> None:
    key = log.keys.run_times()
    await command(log.redis, "HSET", key, "a", "[2.5,3]", "b", "x", "c", "[1e999,1]", "d", "[-1,1]")
    assert set(await read_run_times(log)) == {"a"}

    await command(log.redis, "DEL", key)
    await command(log.redis, "SET", key, "no hash")
    times = RunTimes(log)
    times.note("q", 1.0)
    await times.write_due()


async def test_the_queues_of_run_times_are_bounded(log: Log) -> None:
    full = [word for number in range(QUEUES_LIMIT) for word in (f"q{number}", "[1,1]")]
    await command(log.redis, "HSET", log.keys.run_times(), *full)
    times = RunTimes(log)
    for number in range(QUEUES_LIMIT * 2):
        times.note(f"more-{number}", 1.0)
    times.note("q0", 11.0)
    await times.write_due()

    found = await read_run_times(log)
    assert len(found) == QUEUES_LIMIT
    assert "more-0" not in found


@pytest.mark.parametrize("odd", [-1.0, math.nan, math.inf, 1e300])
def test_what_makes_no_sense_teaches_nothing(odd: float) -> None:
    assert learned(None, [odd]) is None


def test_the_average_follows_what_is_usual_now() -> None:
    first = learned(None, [100.0, 10.0])
    assert first is not None
    assert first.mean_s == 55
    later = learned(first, [10.0] * 60)
    assert later is not None
    assert later.mean_s == pytest.approx(10, abs=1)
    assert later.count == 62
