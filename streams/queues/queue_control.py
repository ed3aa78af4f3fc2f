"""Pause and resume queues, and change the priority of a waiting job.

Rule: of a paused queue nothing is claimed from the moment that `pause_queue` returns. What runs
goes on; what a runner released to another one, it may still take over.
"""

from __future__ import annotations

from typing import cast

import msgspec

from everfold.streams.appending.log import Log
from everfold.streams.errors import BrokenHead, JobClosed, JobLeased, JobUnknown
from everfold.streams.events.checks import check_choice, check_job, check_name
from everfold.streams.layout.copies import change_copies
from everfold.streams.redis.each import each
from everfold.streams.redis.hints import send_hint
from everfold.streams.redis.keys import PRIORITIES
from everfold.streams.redis.pages import read_readable_hash
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import server_time_ms

_change_priority = Script("everfold.streams", "change_priority")


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused a queue, when in Unix ms, and why."""

    actor: str
    at_ms: int
    reason: str = ""


async def paused_queues(log: Log) -> dict[str, Pause]:
    """Return the paused queues by name. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.paused(), Pause)


async def pause_queue(log: Log, queue: str, reason: str = "") -> bool:
    """Pause a queue; False where it was paused. Raises InvalidName, a leaf of Unavailable."""
    check_name("queue", queue)
    mark = Pause(actor=log.actor, at_ms=await server_time_ms(log.redis), reason=reason)
    text = msgspec.json.encode(mark)
    made = await log.write("HSET", log.keys.paused(), queue, text)
    await change_copies(log, "HSET", log.keys.paused_at, queue, text)
    return made == 1


async def resume_queue(log: Log, queue: str) -> bool:
    """Resume a queue; False where it was not paused. Raises InvalidName, a leaf of Unavailable."""
    check_name("queue", queue)
    removed = await log.write("HDEL", log.keys.paused(), queue)
    await change_copies(log, "HDEL", log.keys.paused_at, queue)

    async def hint(partition: int) -> None:
        await send_hint(log.redis, log.keys.wake_at(partition), f"dispatch {partition}")

    await each(log, hint)  # where one does not answer, its runners look by themselves
    return removed == 1


async def change_priority(log: Log, job_id: str, priority: str) -> str:
    """Give a waiting job another priority; return the one that it had before.

    It comes behind the jobs of its user that wait with that priority. Raises JobUnknown, JobClosed,
    JobLeased for one that a runner has, InvalidName, a leaf of Unavailable.
    """
    check_choice("priority", priority, PRIORITIES)
    keys, partition = log.keys, log.keys.partition_of(check_job(job_id))
    reply = await _change_priority.run(
        log.redis, (keys.head(job_id),), (keys.tag(partition), job_id, priority)
    )
    outcome, *rest = (cast("bytes", part).decode(errors="replace") for part in reply)
    if outcome == "unknown":
        raise JobUnknown(job_id)
    if outcome == "closed":
        raise JobClosed(job_id, rest[0])
    if outcome == "leased":
        raise JobLeased(job_id, rest[0])
    if outcome == "broken":
        raise BrokenHead(job_id, rest[0])
    await send_hint(log.redis, keys.wake_at(partition), f"dispatch {partition}")
    return rest[0] if rest else priority
