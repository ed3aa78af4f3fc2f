"""Copies of a namespace's limits and paused queues in each partition of a spread namespace, where
the partition's scripts read them.

Rule: what the namespace has is the truth. Who changes it changes the copies, too; every runner
compares them now and then, so that a partition that was away gets what it missed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.redis.each import GRACE_S, Partitioned, each
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.script import Script

_copy_hash = Script("everfold.streams", "copy_hash")

COMPARE_EVERY_S = 10.0


async def change_copies(
    log: Partitioned, name: str, key_of: Callable[[int], str], *rest: Argument
) -> None:
    """Send HSET or HDEL (`name`) with `rest` to the copy of each partition, which `key_of` names.

    Partitions that answer are changed in any case; a runner sees to the others once they are back.
    Raises PartitionsUnavailable, or another leaf of Unavailable, where not all have answered.
    """
    if log.keys.is_spread:

        async def change(partition: int) -> None:
            await command(log.redis, name, key_of(partition), *rest)

        (await each(log, change, grace_s=GRACE_S)).all()


async def repair_copies(log: Partitioned) -> int:
    """Compare all copies with what the namespace has, and write those that differ; return how many
    did. Raises as `change_copies` does, after all partitions that answer were looked at."""
    if not log.keys.is_spread:
        return 0
    limits = _Truth(await read_hash(log.redis, log.keys.limits()))
    paused = _Truth(await read_hash(log.redis, log.keys.paused()))

    async def repair(partition: int) -> int:
        return await limits.copied(log.redis, log.keys.limits_at(partition)) + await paused.copied(
            log.redis, log.keys.paused_at(partition)
        )

    return sum((await each(log, repair, grace_s=GRACE_S)).all())


class _Truth:
    """What a hash of the namespace holds."""

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        self._flat = [text for field in sorted(fields) for text in (field, fields[field])]
        self._digest = hashlib.sha1(b"\0".join(self._flat), usedforsecurity=False).hexdigest()

    async def copied(self, redis: LedgerRedis, copy: str) -> int:
        """Write a copy where it differs; return 1 then, else 0."""
        run = partial(_copy_hash.run, redis, (copy,))
        if (await run((self._digest,)))[0] == b"same":
            return 0
        await run((self._digest, "whole", *self._flat))
        return 1
