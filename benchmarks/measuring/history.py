"""A log full of realistic jobs, written as fast as the server takes it.

Each job has the events that a runner tells of a ComfyUI run; jobs take turns, so that `in_flight`
of them are under way at any point of the log.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import cast

from msgspec.structs import replace
from redis.asyncio import Redis

from everfold.streams.appending.log import Log
from everfold.streams.events.codec import encode
from everfold.streams.events.event import (
    Claimed,
    Event,
    OutputSaved,
    Policy,
    Progressed,
    Queued,
    Started,
    Submitted,
    Submitting,
    Succeeded,
)
from everfold.streams.events.record import entry_time_ms
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.pages import Entries
from everfold.streams.redis.redis_errors import command

PROGRESS = 20
"""Events of progress per job: ten seconds at two a second."""

EVENTS_PER_JOB = PROGRESS + 7

IMAGES: dict[str, object] = {
    "images": [{"filename": "portrait_00001_.png", "subfolder": "", "type": "output"}]
}


RUNNER = "gpu-1-4711-ab12"


def story() -> Iterator[Event]:
    """Yield the events of one job that succeeds, not stamped yet."""
    prompt_id = str(uuid.uuid4())
    yield Submitted(
        kind="portrait",
        user="ada",
        queue="default",
        priority="normal",
        workflow=uuid.uuid4().hex * 2,
        metadata={"order": 4711},
        policy=Policy(),
    )
    yield Claimed(owner=RUNNER)
    yield Submitting(
        attempt=1,
        backend="http://gpu-1:8188",
        boot="boot-" + prompt_id,
        prompt_id=prompt_id,
        client_id=uuid.uuid4().hex,
    )
    yield Queued(attempt=1, prompt_id=prompt_id, number=42)
    yield Started(attempt=1)
    for step in range(PROGRESS):
        yield Progressed(
            attempt=1,
            value=step / PROGRESS,
            nodes_done=step // 4,
            nodes_total=7,
            node="3",
            node_class="KSampler",
            step=step,
            steps=PROGRESS,
        )
    yield OutputSaved(attempt=1, node="9", output=IMAGES)
    yield Succeeded(attempt=1, outputs={"9": IMAGES}, started_at_ms=1, ended_at_ms=10_001)


class _Told:
    """A job under way: how far its story is told."""

    def __init__(self, job_id: str) -> None:
        self.job_id, self.seq, self.previous = job_id, 0, "0-0"
        self.left = story()


async def write_history(log: Log, events: int, in_flight: int) -> None:
    """Append `events` in all, evenly over the partitions, with `in_flight` jobs under way.

    Their times are half a second apart within a job, as those of a run are, and end now or where
    the log ends already.
    """
    partitions = log.keys.partitions
    for partition in range(partitions):
        count = max(1, in_flight // partitions)
        await _write(log.redis, log.keys, partition, events // partitions, count)


async def _write(redis: Redis, keys: Keyspace, partition: int, events: int, count: int) -> None:
    under_way = [_Told(_job_id(keys, partition)) for _ in range(count)]
    left, key = events, keys.log(partition)
    at_ms = max(await _end_ms(redis, key) + 1, time.time_ns() // 1_000_000 - events // count * 500)
    while left > 0:
        turn: list[tuple[_Told, Event]] = []
        for place, told in enumerate(under_way[:left]):
            event = next(told.left, None)
            if event is None:
                told = under_way[place] = _Told(_job_id(keys, partition))
                event = next(told.left)
            turn.append((told, event))
        left -= len(turn)
        await _append(redis, key, turn, at_ms)
        at_ms += 500


async def _end_ms(redis: Redis, key: str) -> int:
    rows = cast("Entries", await command(redis, "XREVRANGE", key, "+", "-", "COUNT", 1))
    return entry_time_ms(rows[0][0].decode()) if rows else 0


async def _append(redis: Redis, key: str, turn: list[tuple[_Told, Event]], at_ms: int) -> None:
    """Append one event of each job, spread over the half second."""
    pipeline = redis.pipeline(transaction=False)
    for place, (told, event) in enumerate(turn):
        told.seq += 1
        fields = ("j", told.job_id, "s", told.seq, "e", int(told.seq > 1), "p", told.previous)
        entry_id = f"{at_ms + place * 499 // len(turn)}-*"
        pipeline.execute_command("XADD", key, entry_id, *fields, "d", encode(_stamped(event)))
    for (told, _), entry_id in zip(turn, await pipeline.execute(), strict=True):
        told.previous = entry_id.decode()


def _stamped(event: Event) -> Event:
    return replace(event, id=str(uuid.uuid4()), actor=RUNNER)


def _job_id(keys: Keyspace, partition: int) -> str:
    while keys.partition_of(job_id := str(uuid.uuid4())) != partition:
        pass
    return job_id
