"""What `everfold doctor` says of queues: nobody serves one, one is paused, limits hold jobs back.

Rule: a pause or a limit is to be changed only where jobs wait for that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import cast

from everfold.diagnosis.finding import Finding
from everfold.queue_operations import queue_names
from everfold.streams.appending.log import Log
from everfold.streams.errors import WrongKeyType
from everfold.streams.leases.registry import registered_runners, silence_s
from everfold.streams.queues.limits import EVERY, limits
from everfold.streams.queues.queue_control import Pause, paused_queues
from everfold.streams.queues.waiting_jobs import first_fields
from everfold.streams.redis.each import each
from everfold.streams.redis.keys import PRIORITIES
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from everfold.why.limit_counts import running_counts
from everfold.why.reason import SILENT_S


async def queue_findings(log: Log) -> AsyncIterator[Finding]:
    """Yield a finding for each queue that ever held a job, and for each limit that holds some back.

    Raises a leaf of Unavailable.
    """
    served, paused = await _served(log), await paused_queues(log)
    waiting = dict[str, int]()
    for queue in sorted(await queue_names(log) | paused.keys()):
        waits, leased = await _counts(log, queue)
        waiting[queue] = waits
        yield _queue(queue, waits, leased, paused.get(queue), is_served=queue in served)
    async for finding in _limits(log, waiting):
        yield finding


def _queue(queue: str, waits: int, leased: int, pause: Pause | None, *, is_served: bool) -> Finding:
    found, advice = f"{waits:,} waiting, {leased:,} in flight", ""
    if waits + leased and not is_served:
        advice = f"nobody serves it: start `everfold runner --queue {queue}`"
    if pause is not None:
        reason = f" ({pause.reason})" if pause.reason else ""
        found += f"; paused by {pause.actor}{reason}"
        resume = f"`everfold queues resume {queue}` lets them start"
        advice = advice or (resume if waits else "")
    return Finding(f"queue {queue}", found, advice)


async def _served(log: Log) -> set[str]:
    """Return the queues that a runner serves which lives and does not drain."""
    now_ms = await server_time_ms(log.redis)
    return {
        queue
        for entry in (await registered_runners(log)).values()
        if not entry.is_draining
        and (not entry.seen_ms or silence_s(entry.seen_ms, now_ms) < SILENT_S)
        for queue in entry.queues
    }


async def _counts(log: Log, queue: str) -> tuple[int, int]:
    """Return how many jobs wait, and how many runners hold."""

    async def count(partition: int) -> tuple[int, int]:
        lanes = [log.keys.dispatch(partition, queue, priority) for priority in PRIORITIES]
        waits = await _count(log, "ZCARD", log.keys.waiting(partition, queue))
        return waits, sum([await _count(log, "XLEN", lane) for lane in lanes])

    counts = (await each(log, count)).all()
    return sum(waits for waits, _ in counts), sum(leased for _, leased in counts)


async def _count(log: Log, ask: str, key: str) -> int:
    try:
        return cast("int", await command(log.redis, ask, key))
    except WrongKeyType:
        return 0  # it is named by itself


async def _limits(log: Log, waiting: dict[str, int]) -> AsyncIterator[Finding]:
    stored = await limits(log)
    most = {one.name: int(one.number) for one in stored if one.what == "waiting"}
    for queue, waits in waiting.items():
        limit = most.get(queue, most.get(EVERY))
        if limit is not None and waits >= limit:
            found = f"{waits:,} of {limit:,} jobs wait: submits are refused"
            yield Finding(f"limit of queue {queue}", found, "add servers, or raise the limit")
    if not any(one.what == "running" for one in stored):
        return
    first = await _first_of(log, [queue for queue, waits in waiting.items() if waits])
    for count in await running_counts(log, first):
        if count.running >= count.limit:
            found = f"{count.running} of {count.limit} run, and others wait"
            raised = f"everfold limits set running {count.scope} {count.name} NUMBER"
            yield Finding(f"limit of {count.scope} {count.name}", found,
                          "" if count.limit else f"nothing may run: `{raised}`")  # fmt: skip


async def _first_of(log: Log, queues: Iterable[str]) -> list[tuple[str, str]]:
    """Return queue, user and kind of the jobs that stand first in their lines."""
    named = dict[tuple[str, str], None]()
    for queue in queues:
        named["queue", queue] = None
        for pair in await first_fields(log, queue, "user", "kind"):
            for scope, name in zip(("user", "kind"), pair, strict=True):
                if name:
                    named[scope, name.decode(errors="replace")] = None
    return [*named]
