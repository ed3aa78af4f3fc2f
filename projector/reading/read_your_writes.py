"""Waits until the projection has folded an event, so that lists show one's own writes too."""

from __future__ import annotations

from typing import cast

import anyio

from everfold.streams.appending.log import Log
from everfold.streams.events.record import NO_ENTRY, entry_order
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import Backoff, with_retry


async def until_projected(log: Log, job_id: str, seq: int, timeout_s: float | None = None) -> None:
    """Return when the projection has passed the job's event `seq`, or has parked the job.

    It also waits for an event that does not exist yet; `timeout_s` None waits without a limit.
    Raises TimeoutError, JobUnknown, Unavailable.
    """
    with anyio.fail_after(timeout_s):
        backoff = Backoff(first_s=0.005, most_s=0.25)
        while True:
            if await _is_projected(log, job_id, seq):
                return
            await anyio.sleep(backoff.next_s())


async def _is_projected(log: Log, job_id: str, seq: int) -> bool:
    events = await job_events(log, job_id, after_seq=seq - 1)
    if not events:
        return False
    key = log.keys.projector(log.keys.partition_of(job_id))
    stored = await with_retry(
        lambda: command(log.redis, "HGET", key, "checkpoint"), log.retry_for_s
    )
    checkpoint = cast("bytes | None", stored) or NO_ENTRY.encode()
    return entry_order(checkpoint.decode()) >= entry_order(events[0].entry_id)
