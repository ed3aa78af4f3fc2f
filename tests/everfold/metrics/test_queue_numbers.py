"""The numbers of queues and their backlog, and what is shown of very many."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from everfold.metrics.namespace_metrics import namespace_metrics
from everfold.metrics.queue_numbers import QueueNumbers, Queues
from everfold.metrics.sampled import Sample
from everfold.streams.telemetry.measures import LABELS_LIMIT, OTHERS


def numbers(
    name: str = "q", waiting: int = 0, servers: int = 1, run_s: float | None = None
) -> QueueNumbers:
    return QueueNumbers(
        name=name, waiting=(0, waiting, 0), leased=(0, 1, 0), oldest_s=waiting,
        runners=frozenset({"r"}), servers=servers, is_paused=False, run_s=run_s,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "backlog_s"),
    [
        (numbers(waiting=10, servers=2, run_s=30.0), 150.0),
        (numbers(waiting=10, servers=0, run_s=30.0), 300.0),
        (numbers(waiting=0, servers=0, run_s=None), 0.0),
        (numbers(waiting=1, servers=3, run_s=None), None),
        (numbers(waiting=5, servers=1, run_s=0.0), 0.0),
    ],
)
def test_the_backlog_is_the_work_that_waits_over_the_servers(
    one: QueueNumbers, backlog_s: float | None
) -> None:
    assert one.backlog_s == backlog_s


def shown(queues: Sequence[QueueNumbers], **more: object) -> dict[tuple[str, ...], float]:
    """Return name and values of labels -> value."""
    sample = Sample(
        queues=Queues(by_name={one.name: one for one in queues}, count=len(queues)),
        later=more.get("later", {}),  # type: ignore[arg-type]
        later_besides=int(str(more.get("besides", 0))),
        backends=(), runners=(), lags=(), subscriptions=(), assets_bytes=7,
    )  # fmt: skip
    return {
        (one.name, *one.labels.values()): one.value
        for family in namespace_metrics(sample)
        for one in family.samples
    }


def test_very_many_queues_have_few_labels_and_lose_no_job() -> None:
    found = shown([numbers(f"q{number:04}", waiting=2) for number in range(1_000)])

    jobs = {key: value for key, value in found.items() if key[0] == "everfold_jobs"}
    assert sum(value for key, value in jobs.items() if key[-1] == "waiting") == 2_000
    assert jobs["everfold_jobs", OTHERS, "normal", "waiting"] == 2 * (1_000 - LABELS_LIMIT)
    assert len(jobs) == (LABELS_LIMIT + 1) * 6
    assert found["everfold_queue_oldest_seconds", OTHERS] == 2
    assert ("everfold_queues",) in found


def test_jobs_for_later_are_those_of_their_queue() -> None:
    found = shown([numbers()], later={("q", "high"): 3, ("else", "low"): 2, ("", ""): 1}, besides=9)

    assert found["everfold_jobs", "q", "high", "later"] == 3
    assert found["everfold_jobs", OTHERS, "low", "later"] == 2
    assert found["everfold_jobs", OTHERS, OTHERS, "later"] == 10


def test_an_unknown_backlog_is_not_shown_as_none() -> None:
    assert ("everfold_backlog_seconds", "q") not in shown([numbers(waiting=1)])
    assert shown([numbers(waiting=1, run_s=5)])["everfold_backlog_seconds", "q"] == 5
