"""How far a subscription is: behind the log, held and parked jobs, who consumes it."""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import Struct

from everfold.projector.reading.lag import behind
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.subscription import Description
from everfold.streams.appending.log import Log
from everfold.streams.errors import SubscriptionUnknown
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_time_ms


class SubscriptionStatus(Struct, frozen=True, kw_only=True):
    """One partition of a subscription."""

    partition: int
    owner: str
    """The consumer that has it now, empty when nobody does."""
    checkpoint: str
    behind_events: int
    """Not taken yet; at most 10,000."""
    behind_s: float
    """Age of the oldest of them."""
    delivered: int
    failed: int
    """Tries that failed."""
    left_out: int
    """Events of jobs whose beginning was trimmed before the subscription was made."""
    waiting: int
    """Jobs that wait to be tried again."""
    parked: int
    oldest_held_s: float
    """How long ago the oldest event was appended that a job is held at; 0 without one."""


class HeldJob(Struct, frozen=True):
    """A held job as lists show it."""

    partition: int
    job_id: str
    held: Held


async def subscriptions(log: Log) -> dict[str, Description]:
    """Return what subscriptions there are, by name."""
    stored = await read_hash(log.redis, log.keys.subscriptions())
    decode = msgspec.json.Decoder(Description).decode
    return {name.decode(): decode(text) for name, text in sorted(stored.items())}


async def known(log: Log, name: str) -> Description:
    """Return what a subscription is about. Raises SubscriptionUnknown."""
    found = await subscriptions(log)
    if name not in found:
        raise SubscriptionUnknown(name, tuple(found))
    return found[name]


async def subscription_status(log: Log, name: str) -> list[SubscriptionStatus]:
    """Return how far a subscription is, by partition. Raises Unavailable."""
    now_ms = await server_time_ms(log.redis)
    return [await _of(log, name, p, now_ms) for p in range(log.keys.partitions)]


async def _of(log: Log, name: str, partition: int, now_ms: int) -> SubscriptionStatus:
    keys = log.keys.subscription(partition, name)
    stored = await read_hash(log.redis, keys.checkpoint())
    held = (await read_held(log, keys.held())).values()
    checkpoint = stored.get(b"checkpoint", NO_ENTRY.encode()).decode()
    count, first_ms = await behind(log, partition, checkpoint)
    owned = int(stored.get(b"until_ms", b"0")) > now_ms
    oldest_ms = min((why.at_ms for why in held), default=now_ms)
    return SubscriptionStatus(
        partition=partition,
        owner=stored.get(b"owner", b"").decode() if owned else "",
        checkpoint=checkpoint,
        behind_events=count,
        behind_s=max(0, now_ms - (first_ms or now_ms)) / 1000,
        delivered=int(stored.get(b"delivered", b"0")),
        failed=int(stored.get(b"failed", b"0")),
        left_out=int(stored.get(b"left_out", b"0")),
        waiting=sum(not why.is_parked for why in held),
        parked=sum(why.is_parked for why in held),
        oldest_held_s=max(0, now_ms - oldest_ms) / 1000,
    )


async def read_held(log: Log, key: str) -> dict[str, Held]:
    stored = await read_hash(log.redis, key)
    return {name.decode(): msgspec.json.decode(text, type=Held) for name, text in stored.items()}


async def held_jobs(log: Log, name: str, *, only_parked: bool = False) -> list[HeldJob]:
    """Return the held jobs of a subscription, the oldest first."""
    found = [
        HeldJob(partition, job_id, held)
        for partition in range(log.keys.partitions)
        for job_id, held in (
            await read_held(log, log.keys.subscription(partition, name).held())
        ).items()
        if held.is_parked or not only_parked
    ]
    return sorted(found, key=lambda job: job.held.at_ms)


async def held_job(log: Log, name: str, job_id: str) -> tuple[Held, bytes] | None:
    """Return how one job is held, and that as it is stored."""
    key = log.keys.subscription(log.keys.partition_of(job_id), name).held()
    text = cast("bytes | None", await command(log.redis, "HGET", key, job_id))
    return (msgspec.json.decode(text, type=Held), text) if text is not None else None
