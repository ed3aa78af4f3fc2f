"""Hints to other processes, by a channel. Rule: nothing depends on one; see runner's listeners."""

from __future__ import annotations

from redis.asyncio import Redis

from everfold.streams.redis.each import Partitioned
from everfold.streams.redis.redis_errors import command


async def send_hint(redis: Redis, channel: str, hint: str) -> None:
    """Send a hint. A channel that begins with a hash tag is one of a cluster's node. Raises a leaf
    of Unavailable."""
    name = "SPUBLISH" if channel.startswith("{") else "PUBLISH"
    await command(redis, name, channel, hint)


async def send_job_hint(log: Partitioned, word: str, job_id: str) -> None:
    """Send a hint about a job to those who hear of its partition. Raises as `send_hint` does."""
    channel = log.keys.wake_at(log.keys.partition_of(job_id))
    await send_hint(log.redis, channel, f"{word} {job_id}")
