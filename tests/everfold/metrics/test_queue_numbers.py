"""The numbers of queues and their backlog, and what is shown of very many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from everfold.client import Everfold
from everfold.metrics.namespace_metrics import namespace_metrics
from everfold.metrics.queue_numbers import QueueNumbers, Queues
from everfold.metrics.sampled import Sample, Sampled
from everfold.operations import BackendStatus
from everfold.streams.appending.log import Log
from everfold.streams.leases.backends import BackendEntry, note_backends
from everfold.streams.leases.registry import RunnerEntry, register_runner
from everfold.streams.redis.server import server_time_ms
from everfold.streams.telemetry.measures import LABELS_LIMIT, OTHERS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


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
        backends=more.get("backends", ()),  # type: ignore[arg-type]
        runners=(), lags=(), subscriptions=(), assets_bytes=7,
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


def backend(server: str, unseen_s: float = 1, why: str = "") -> BackendStatus:
    """A server at an address that each host has."""
    return BackendStatus(SIDECAR, unseen_s, why, "", server=server, slots=2, busy=1)


SIDECAR = "http://127.0.0.1:8188"


@pytest.mark.parametrize(
    ("backends", "up", "slots", "busy"),
    [
        ([backend("a"), backend("b"), backend("c")], 1, 6, 3),
        ([backend("a", why="401"), backend("b")], 0, 4, 2),
        ([backend("a", unseen_s=30), backend("b")], 0, 2, 1),
        ([backend("a", unseen_s=3_600), backend("b")], 1, 2, 1),  # it was replaced
        ([backend("a", unseen_s=3_600)], 0, 0, 0),
    ],
)
def test_servers_of_one_address_count_together(
    backends: Sequence[BackendStatus], up: int, slots: int, busy: int
) -> None:
    found = shown([], backends=backends)
    names = ("everfold_backend_up", "everfold_backend_slots", "everfold_backend_busy")
    assert [found[name, SIDECAR] for name in names] == [up, slots, busy]


async def test_a_sidecar_of_each_host_is_a_server_of_its_own(log: Log) -> None:
    now_ms = await server_time_ms(log.redis)
    for host in ("one", "two", "three"):
        await register_runner(log, RunnerEntry(
            runner=host, host=host, pid=1, queues=("q",), backends=(SIDECAR,), since_ms=1,
            seen_ms=now_ms,
        ))  # fmt: skip
        entry = BackendEntry(name=SIDECAR, seen_ms=now_ms, server=f"at {host}", host=host)
        await note_backends(log, [entry])
    async with Everfold.connect(str(log.url), namespace=log.keys.namespace) as everfold:
        queues = await Sampled(everfold).queues()

    assert queues.by_name["q"].servers == 3


def test_an_unknown_backlog_is_not_shown_as_none() -> None:
    assert ("everfold_backlog_seconds", "q") not in shown([numbers(waiting=1)])
    assert shown([numbers(waiting=1, run_s=5)])["everfold_backlog_seconds", "q"] == 5
