"""The status of a subscription: its lag, its held and parked jobs, and who consumes it."""

from __future__ import annotations

import contextlib
from typing import cast

from msgspec import Struct
from msgspec.structs import asdict, replace

from everfold.projector.reading.lag import PartitionLag, age_s, partition_lag
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.subscription import Description
from everfold.streams.appending.log import Log
from everfold.streams.errors import SubscriptionUnknown
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.stored_fields import stored_number
from everfold.streams.redis.each import each
from everfold.streams.redis.pages import read_readable_hash
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_time_ms

_decode = decoder(Held)


class SubscriptionStatus(PartitionLag, frozen=True, kw_only=True):
    """One partition of a subscription; `owner` is the consumer that has its lease."""

    delivered: int
    """Events delivered since the subscription was made, repeated ones included."""
    failed: int
    """Tries that failed."""
    left_out: int
    """Events of jobs whose beginning was trimmed before the subscription was made."""
    waiting: int
    """Held jobs that will be tried again by themselves."""
    parked: int
    """Held jobs that wait for an operator."""
    oldest_held_s: float
    """Age of the oldest event that a job is held at, in seconds; 0 when no job is held."""


class SubscriptionSummary(Struct, frozen=True):
    """A subscription over all partitions."""

    subscription: str
    consumers: int
    behind_events: int
    behind_s: float
    delivered: int
    failed: int
    left_out: int
    waiting: int
    parked: int
    oldest_held_s: float


class HeldJob(Struct, frozen=True):
    """One row of the list of held jobs."""

    partition: int
    job_id: str
    held: Held


async def subscriptions(log: Log) -> dict[str, Description]:
    """Return all subscriptions by name, in the order of their names. Raises Unavailable."""
    found = await read_readable_hash(log.redis, log.keys.subscriptions(), Description)
    return dict(sorted(found.items()))


async def is_listed(log: Log, name: str) -> bool:
    """Say whether there is a subscription of this name. Raises Unavailable."""
    return await command(log.redis, "HGET", log.keys.subscriptions(), name) is not None


async def description_of(log: Log, name: str) -> Description:
    """Return the description of a subscription. Raises SubscriptionUnknown, Unavailable."""
    found = await subscriptions(log)
    if name not in found:
        raise SubscriptionUnknown(name, tuple(found))
    return found[name]


async def subscription_status(log: Log, name: str) -> list[SubscriptionStatus]:
    """Return the status of each partition, in order. Raises Unavailable.

    A subscription that does not exist looks like one that has taken nothing.
    """
    now_ms = await server_time_ms(log.redis)
    return (await each(log, lambda p: _partition_status(log, name, p, now_ms))).all()


async def subscription_summary(log: Log, name: str) -> SubscriptionSummary:
    """Return the status of a subscription over all partitions. Raises Unavailable."""
    rows = await subscription_status(log, name)
    return SubscriptionSummary(
        subscription=name,
        consumers=len({row.owner for row in rows} - {""}),
        behind_events=sum(row.lag_events for row in rows),
        behind_s=max(row.lag_s for row in rows),
        delivered=sum(row.delivered for row in rows),
        failed=sum(row.failed for row in rows),
        left_out=sum(row.left_out for row in rows),
        waiting=sum(row.waiting for row in rows),
        parked=sum(row.parked for row in rows),
        oldest_held_s=max(row.oldest_held_s for row in rows),
    )


async def _partition_status(log: Log, name: str, partition: int, now_ms: int) -> SubscriptionStatus:
    keys = log.keys.subscription(partition, name)
    stored = await read_hash(log.redis, keys.checkpoint())
    held = (await read_held(log, keys.held())).values()
    return SubscriptionStatus(
        **asdict(await partition_lag(log, partition, stored, now_ms)),
        delivered=stored_number(stored, b"delivered") or 0,
        failed=stored_number(stored, b"failed") or 0,
        left_out=stored_number(stored, b"left_out") or 0,
        waiting=sum(not job.is_parked for job in held),
        parked=sum(job.is_parked for job in held),
        oldest_held_s=age_s(now_ms, min((job.at_ms for job in held), default=now_ms)),
    )


async def read_held(log: Log, key: str) -> dict[str, Held]:
    """Return the held jobs of one partition of a subscription, by job id. Raises Unavailable."""
    return await read_readable_hash(log.redis, key, Held)


async def held_jobs(log: Log, name: str, *, only_parked: bool = False) -> list[HeldJob]:
    """Return the held jobs of a subscription, the oldest event first. Raises Unavailable."""

    async def read(partition: int) -> list[HeldJob]:
        held = await read_held(log, log.keys.subscription(partition, name).held())
        jobs = [HeldJob(partition, job_id, one) for job_id, one in held.items()]
        return [job for job in jobs if job.held.is_parked or not only_parked]

    found = [job for jobs in (await each(log, read)).all() for job in jobs]
    opened = [replace(one, held=await log.opened(one.held, one.job_id)) for one in found]
    return sorted(opened, key=lambda job: job.held.at_ms)


async def held_job(log: Log, name: str, job_id: str) -> tuple[Held, bytes] | None:
    """Return how one job is held, decoded and as stored; None when it is not held."""
    key = log.keys.subscription(log.keys.partition_of(job_id), name).held()
    text = cast("bytes | None", await command(log.redis, "HGET", key, job_id))
    if text is None:
        return None
    with contextlib.suppress(NotJson):
        return _decode(text), text
    return None
