"""Submit and append: each named outcome, and what the server holds before and after."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import cast

import anyio
import pytest

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.appending.writing import WORKFLOW_TTL_S
from everfold.streams.errors import (
    IdempotencyConflict,
    InvalidName,
    InvalidWorkflow,
    JobLeased,
    Refused,
    TooLarge,
)
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Event,
    Expired,
    Failed,
    Failure,
    Policy,
    Released,
    Rewound,
    Started,
    Submitted,
    Succeeded,
)
from everfold.streams.events.needs import needs_of
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from everfold.streams.redis import scripts
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.scripts import NewEvent, Reply
from tests.streams.events.stored import stored
from tests.support.stored_names import names_like

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
OTHER = {"1": {"class_type": "LoadImage", "inputs": {}}}
QUEUES = ["default"]
FAILURE = Failure(code="execution_error", message="boom")
ENDS: list[Event] = [
    Succeeded(attempt=1, outputs={}),
    Failed(failure=FAILURE),
    Canceled(),
    Expired(reason="stale"),
]


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def leased(log: Log, **more: str) -> Lease:
    await log.submit(GRAPH, **more)  # type: ignore[arg-type]
    [lease] = await Dispatch(log, "r1").claim(0, QUEUES, 1)
    return lease


async def append(log: Log, *events: NewEvent) -> list[Reply]:
    """Run the script itself, as a program in another language would."""
    replies, _ = await scripts.append(
        log.redis,
        log=log.keys.log(0),
        later=log.keys.later(0),
        workflows=log.keys.workflows(0),
        tag=log.keys.tag(0),
        workflow_ttl_ms=1000,
        heads=[log.keys.head(event.job_id) for event in events],
        events=events,
    )
    return replies


def new(job_id: str, event_id: str, **more: object) -> NewEvent:
    payload = b'{"type":"job.started","v":1,"attempt":1}'
    return NewEvent(job_id=job_id, event_id=event_id, payload=payload, **more)  # type: ignore[arg-type]


async def test_a_submitted_job_is_known_and_waits_at_exactly_one_place(log: Log) -> None:
    made = await log.submit(
        GRAPH, kind="portrait", user="ada", metadata={"shop": 7}, idempotency_key="order-1"
    )
    now = await stored(log, made.job_id)
    [(job, place)] = now.waiting.items()
    assert (job, now.places, now.pending, now.deadlines) == (made.job_id, 1, {}, {})
    assert list(now.graphs.values()) == [1]
    [record] = await job_events(log, made.job_id)
    assert (record.seq, record.epoch, record.previous) == (1, 0, NO_ENTRY)
    assert isinstance(record.event, Submitted)
    assert record.event.actor == "client"
    assert now.head == {
        "seq": "1",
        "epoch": "0",
        "status": "open",
        "phase": "waiting",
        "owner": "",
        "workflow": record.event.workflow,
        "queue": "default",
        "priority": "normal",
        "dispatch": "",
        "place": str(place),
        "line": needs_of(GRAPH).signature,
        "needs": needs_of(GRAPH).signature,
        "user": "ada",
        "kind": "portrait",
        "first": record.entry_id,
        "last": record.entry_id,
        "made_by": record.event.id,
        "recent": "",
    }


async def test_a_job_for_later_waits_there_and_nowhere_else(log: Log) -> None:
    at_ms = int(time.time() * 1000) + 3_600_000
    policy = Policy(queue_deadline_s=60)
    made = await log.submit(GRAPH, run_at_ms=at_ms, policy=policy)
    now = await stored(log, made.job_id)
    assert (now.dispatch, now.later) == ({}, {made.job_id: at_ms})
    assert now.deadlines == {made.job_id: at_ms + 60_000}
    assert now.head["phase"] == "later"


async def test_a_repeated_submit_changes_nothing_even_after_the_job_has_ended(log: Log) -> None:
    lease = await leased(log, idempotency_key="k")
    await log.append(lease.job_id, ENDS[0], epoch=lease.epoch)
    before = await stored(log, lease.job_id)
    again = await log.submit(GRAPH, idempotency_key="k")
    assert (again.job_id, again.created) == (lease.job_id, False)
    assert await stored(log, lease.job_id) == before


async def test_the_same_key_with_another_graph_is_a_conflict_and_writes_nothing(log: Log) -> None:
    made = await log.submit(GRAPH, idempotency_key="k")
    before = await stored(log, made.job_id)
    with pytest.raises(IdempotencyConflict) as conflict:
        await log.submit(OTHER, idempotency_key="k")
    assert (conflict.value.key, conflict.value.job_id) == ("k", made.job_id)
    assert await stored(log, made.job_id) == before
    assert len(await job_events(log, made.job_id)) == 1


async def test_a_hundred_submits_of_one_key_at_once_make_one_job(log: Log) -> None:
    made: list[bool] = []

    async def submit() -> None:
        made.append((await log.submit(GRAPH, idempotency_key="k")).created)

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(submit)
    assert sorted(made) == [False] * 99 + [True]
    assert (await stored(log)).places == 1


REFUSED: dict[str, tuple[dict[str, object], type[Refused]]] = {
    "graph": ({"workflow": {"nodes": []}}, InvalidWorkflow),
    "queue": ({"queue": "a b"}, InvalidName),
    "priority": ({"priority": "urgent"}, InvalidName),
    "job id": ({"job_id": "{x}"}, InvalidName),
    "user": ({"user": "a\n"}, InvalidName),
    "kind": ({"kind": "k" * 201}, TooLarge),
    "key": ({"idempotency_key": "k" * 201}, TooLarge),
    "metadata": ({"metadata": {"x": "y" * 70_000}}, TooLarge),
    "policy": ({"policy": Policy(retry_backoff_s=float("inf"))}, Refused),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_submit_writes_nothing(log: Log, name: str) -> None:
    wrong, kind = REFUSED[name]
    with pytest.raises(kind):
        await log.submit(**{"workflow": GRAPH, **wrong})  # type: ignore[arg-type]
    assert await names_like(log.redis, f"{{{log.keys.namespace}:*") == []


async def test_every_outcome_of_append_in_one_call(log: Log) -> None:
    lease = await leased(log)
    job, ended = lease.job_id, (await log.submit(OTHER)).job_id
    await log.append(ended, Canceled(), epoch=UNLEASED)
    replies = await append(
        log,
        new(job, "one", epoch=1, holder="r1", expected=2),
        new(job, "two", epoch=0),
        new(job, "one", epoch=1),
        new(job, "three", epoch=2),
        new(job, "four", epoch=1, holder="r2"),
        new(job, "five", epoch=UNLEASED),
        new(job, "six", epoch=1, expected=2),
        new(ended, "seven"),
        new("nobody", "eight"),
        new(job, "nine", epoch=1, effect="succeeded"),
        new(job, "ten", epoch=1),
        new(job, "nine", epoch=1, effect="succeeded"),
    )
    entries = [record.entry_id.encode() for record in await job_events(log, job)]
    assert replies == [
        [b"appended", 3, entries[2]],
        [b"leased", b"r1"],
        [b"duplicate", 3, entries[2]],
        [b"fenced", 1],
        [b"fenced", 1],
        [b"leased", b"r1"],
        [b"conflict", 3],
        [b"closed", b"canceled"],
        [b"unknown"],
        [b"appended", 4, entries[3]],
        [b"closed", b"succeeded"],
        [b"duplicate", 4, entries[3]],
    ]
    assert len(entries) == 4


@pytest.mark.parametrize("end", ENDS, ids=lambda event: type(event).__name__)
async def test_an_end_takes_the_job_out_of_every_list_in_one_step(log: Log, end: Event) -> None:
    lease = await leased(log)
    before = await stored(log, lease.job_id)
    assert (before.places, before.pending) == (1, {lease.dispatch_id: "r1"})
    await log.append(lease.job_id, end, epoch=lease.epoch, holder="r1")
    now = await stored(log, lease.job_id)
    assert (now.places, now.pending, now.graphs) == (0, {}, {})
    assert (now.head["status"], now.head["phase"]) == (type(end).__name__.lower(), "closed")


async def test_an_end_takes_the_job_out_of_later(log: Log) -> None:
    made = await log.submit(GRAPH, run_at_ms=int(time.time() * 1000) + 3_600_000)
    await log.append(made.job_id, Expired(reason="queue_deadline"), epoch=UNLEASED)
    assert (await stored(log)).places == 0


@pytest.mark.parametrize("phase", ["leased", "released"])
async def test_no_program_can_end_a_job_that_another_one_works_on_or_may_resume(
    log: Log, phase: str
) -> None:
    lease = await leased(log)
    if phase == "released":
        await Dispatch(log, "r1").release(lease, Released(reason="drain"))
    before = await stored(log, lease.job_id)
    # Python refuses an end with epoch 0 by itself; other languages have the script only.
    for epoch in (0, UNLEASED):
        [reply] = await append(log, new(lease.job_id, "end", epoch=epoch, effect="canceled"))
        assert reply[0] == b"leased"
    with pytest.raises(JobLeased):
        await log.append(lease.job_id, Canceled(), epoch=UNLEASED)
    assert await stored(log, lease.job_id) == before


async def test_an_event_id_that_is_part_of_another_one_is_not_a_duplicate(log: Log) -> None:
    made = await log.submit(GRAPH)
    for seq, event_id in enumerate(("order-12", "12", "2", "order-1", "order", "1-3", "3"), 2):
        appended = await log.append(
            made.job_id, Rewound(id=event_id, seen_seq=2, found_seq=1), epoch=0
        )
        assert (appended.seq, appended.duplicate) == (seq, False)
    lease = (await Dispatch(log, "r1").claim(0, QUEUES, 1))[0]
    await log.append(made.job_id, Started(attempt=1, id="release-1"), epoch=1)
    released = await Dispatch(log, "r1").release(lease, Released(reason="drain", id="release"))
    assert not released.duplicate


async def test_every_event_id_is_known_however_long_the_history(log: Log) -> None:
    made = await log.submit(GRAPH)
    events = [log.stamp(Rewound(seen_seq=2, found_seq=1)) for _ in range(40)]
    for event in events:
        await log.append(made.job_id, event, epoch=0)
    for place, event in enumerate(events, 2):
        again = await log.append(made.job_id, event, epoch=0)
        assert (again.seq, again.duplicate) == (place, True)


async def test_asking_to_cancel_marks_the_job_and_leaves_it_open(log: Log) -> None:
    lease = await leased(log)
    await log.append(lease.job_id, CancelRequested(), epoch=0)
    head = (await stored(log, lease.job_id)).head
    assert (head["cancel"][:2], head["status"], head["phase"]) == ("3 ", "open", "leased")


async def test_a_graph_is_forgotten_only_after_its_last_open_job(log: Log) -> None:
    key = ""
    leases = [await leased(log) for _ in range(3)]
    for number, lease in enumerate(leases):
        [(sha, count)] = (await stored(log)).graphs.items()
        key = log.keys.workflow(0, sha)
        assert count == 3 - number
        assert await command(log.redis, "PTTL", key) == -1
        await log.append(lease.job_id, ENDS[number], epoch=lease.epoch)
    assert (await stored(log)).graphs == {}
    left_ms = cast("int", await command(log.redis, "PTTL", key))
    assert WORKFLOW_TTL_S * 1000 - 60_000 < left_ms <= WORKFLOW_TTL_S * 1000
    assert await log.workflow(leases[0].job_id, key.rpartition(":")[2]) is not None


async def test_an_event_keeps_the_id_and_the_actor_that_it_has(log: Log) -> None:
    event = CancelRequested(id="mine", actor="web")
    assert log.stamp(event) is event
    stamped = log.stamp(CancelRequested(id="mine"))
    assert (stamped.id, stamped.actor) == ("mine", "client")
