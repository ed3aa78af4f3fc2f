"""The checker sees what is wrong, and nothing else: a checker that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import anyio
import pytest

from everfold.projector.projector import Projector
from everfold.projector.reading import verify as verify_module
from everfold.projector.reading.verify import Report, verify
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.codec import encode
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Policy,
    Progressed,
    Started,
    Submitting,
    Succeeded,
)
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.leases.producer import Producer
from everfold.streams.reading.reader import job_events, partition_page
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.retention.trimming import trim

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


def begin(number: int) -> Submitting:
    return Submitting(attempt=number, backend="b", boot="m", prompt_id="p", client_id="c")


async def scene(log: Log) -> list[Lease]:
    """Two running jobs, one that waits, one that has ended."""
    for _ in range(4):
        await log.submit(GRAPH)
    producer = Producer(log, "r")
    leases = await producer.claim(most=3)
    for lease in leases:
        await producer.append(lease, begin(1))
    await producer.finish(leases[2], Succeeded(attempt=1, outputs={}))
    return leases


async def test_a_sound_namespace_is_called_sound_while_it_changes(log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(Projector(log, "p").run)
        leases = await scene(log)

        async def change() -> None:
            for step in range(300):
                event = Progressed(attempt=1, value=step / 300, nodes_done=0, nodes_total=1)
                await log.append(leases[0].job_id, event, epoch=leases[0].epoch)

        tasks.start_soon(change)
        for _ in range(5):
            report = await verify(log)
            assert report.differences == []
            assert (report.jobs, report.open_jobs) == (4, 3)
        tasks.cancel_scope.cancel()


Spoil = Callable[[Log, list[Lease]], Awaitable[object]]


async def _forge_event(log: Log, leases: list[Lease]) -> None:
    forged = encode(Started(attempt=1))
    entry = ("j", leases[2].job_id, "s", 9, "e", 0, "p", "0-0", "d", forged)
    await command(log.redis, "XADD", log.keys.log(0), "*", *entry)


async def _lose_dispatch_entry(log: Log, leases: list[Lease]) -> None:
    await command(
        log.redis, "XDEL", log.keys.dispatch(0, "default", "normal"), leases[0].dispatch_id
    )


async def _add_dispatch_entry(log: Log, leases: list[Lease]) -> None:
    key = log.keys.dispatch(0, "default", "normal")
    await command(log.redis, "XADD", key, "*", "j", leases[2].job_id)


async def _change_head(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "HSET", log.keys.head(leases[0].job_id), "seq", 99)


async def _change_state(log: Log, leases: list[Lease]) -> None:
    fields = ("job_id", leases[0].job_id, "seq", 3, "status", "failed")
    await command(log.redis, "HSET", log.keys.job(leases[0].job_id), *fields)


async def _also_wait_for_later(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "ZADD", log.keys.later(0), 9_999_999_999_999, leases[1].job_id)


async def _age_head(log: Log, leases: list[Lease]) -> None:
    """Let the head point one event back, as after a lost write."""
    before, _ = (await job_events(log, leases[0].job_id))[-2:]
    fields = ("seq", before.seq, "last", before.entry_id)
    await command(log.redis, "HSET", log.keys.head(leases[0].job_id), *fields)


async def _lose_head(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "DEL", log.keys.head(leases[0].job_id))


async def _lose_last_entry(log: Log, leases: list[Lease]) -> None:
    last = (await job_events(log, leases[1].job_id))[-1]
    await command(log.redis, "XDEL", log.keys.log(0), last.entry_id)


async def _raise_epoch(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "HSET", log.keys.head(leases[0].job_id), "epoch", 9)


async def _open_again(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "HSET", log.keys.head(leases[2].job_id), "status", "open")


async def _garble_state(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "HSET", log.keys.job(leases[0].job_id), "seq", "many")


async def _keep_closed_for_later(log: Log, leases: list[Lease]) -> None:
    await command(log.redis, "ZADD", log.keys.later(0), 1, leases[2].job_id)


async def _append_without_epoch(log: Log, leases: list[Lease]) -> None:
    job_id = leases[0].job_id
    head = await read_hash(log.redis, log.keys.head(job_id))
    seq, payload = int(head[b"seq"]) + 1, encode(Started(attempt=1))
    entry = ("j", job_id, "s", seq, "e", 0, "p", head[b"last"], "d", payload)
    entry_id = await command(log.redis, "XADD", log.keys.log(0), "*", *entry)
    new = ("seq", seq, "last", cast("bytes", entry_id))
    await command(log.redis, "HSET", log.keys.head(job_id), *new)


SPOILS: dict[str, tuple[Spoil, int]] = {
    "an event after the end": (_forge_event, 2),
    "an open job without a dispatch entry": (_lose_dispatch_entry, 5),
    "a closed job in dispatch": (_add_dispatch_entry, 5),
    "a head ahead of the log": (_change_head, 1),
    "a state that is not the fold": (_change_state, 4),
    "a job in two places": (_also_wait_for_later, 5),
    "a head behind the log": (_age_head, 1),
    "no head": (_lose_head, 1),
    "a head that points at nothing": (_lose_last_entry, 1),
    "an epoch that nobody claimed": (_raise_epoch, 3),
    "an ended job that is called open": (_open_again, 2),
    "a state that nobody can read": (_garble_state, 4),
    "an event of a leased job without an epoch": (_append_without_epoch, 9),
    "a closed job that waits for a time": (_keep_closed_for_later, 5),
}


@pytest.mark.parametrize("name", SPOILS)
async def test_what_was_spoiled_is_found_and_named(log: Log, name: str) -> None:
    spoil, invariant = SPOILS[name]
    leases = await scene(log)
    before: Report = await verify(log)
    assert before.is_sound
    await spoil(log, leases)
    report = await verify(log)
    assert invariant in {difference.invariant for difference in report.differences}
    named = {difference.job_id for difference in report.differences}
    assert {difference.partition for difference in report.differences} == {0}
    assert named <= {lease.job_id for lease in leases}
    assert all("expected" in str(difference) for difference in report.differences)


async def test_open_jobs_past_their_bounds_are_named(log: Log) -> None:
    canceled = (await log.submit(GRAPH, policy=Policy(stop_within_s=0.05))).job_id
    producer = Producer(log, "r")
    (lease,) = await producer.claim()
    await producer.append(lease, begin(1))
    await producer.append(lease, Started(attempt=1))
    policy = Policy(queue_deadline_s=0.05, stop_within_s=0.05)
    late = (await log.submit(GRAPH, policy=policy)).job_id
    await log.submit(GRAPH)
    await log.append(canceled, CancelRequested(reason=""), epoch=0)
    assert (await verify(log)).is_sound
    await anyio.sleep(0.4)  # the bounds are 0.1 s and 0.05 s, the margin 0.2 s
    report = await verify(log, margin_s=0.2)
    assert {difference.invariant for difference in report.differences} == {8}
    assert {difference.job_id for difference in report.differences} == {late, canceled}


async def test_progress_is_told_in_events_read_of_all_there_are(log: Log) -> None:
    await scene(log)
    told: list[tuple[int, int]] = []
    report = await verify(log, lambda read, total: told.append((read, total)))
    assert told[-1] == (report.events, report.events)
    assert report.unsettled == 0


@pytest.mark.parametrize("kept_bytes", [0, verify_module.KEPT_BYTES])
async def test_a_namespace_is_sound_however_much_of_it_is_kept_in_memory(
    log: Log, monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    monkeypatch.setattr(verify_module, "KEPT_BYTES", kept_bytes)
    await scene(log)
    report = await verify(log)
    assert (report.events, report.jobs, report.open_jobs, report.differences) == (11, 4, 3, [])


async def test_what_is_trimmed_while_it_is_checked_is_no_difference(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended_job() -> None:
        made = await log.submit(GRAPH)
        await log.append(made.job_id, Canceled(reason="done"), epoch=UNLEASED)

    async def trimmed_after_the_read(
        log: Log, partition: int, *, until: str, size: int
    ) -> AsyncIterator[list[Recorded]]:
        page = await partition_page(log, partition, NO_ENTRY, size, until)
        assert (await trim(log, 0, 0, needs_archive=False)).count == len(page)
        yield page

    for _ in range(2):
        await ended_job()
    monkeypatch.setattr(verify_module, "partition_pages", trimmed_after_the_read)
    report = await verify(log)
    assert (report.events, report.jobs, report.differences) == (4, 2, [])
