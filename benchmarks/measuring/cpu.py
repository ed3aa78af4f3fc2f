"""What something costs in processor time: of this process, and of the servers.

Rule: times of a wall clock say little where other programs work, too; what was used says the same.
"""

from __future__ import annotations

import time

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.redis.redis_errors import command


async def servers_cpu_s(redis: LedgerRedis) -> list[float]:
    """Return the seconds of processor time that each primary has used, in the order of theirs."""
    return [await _used_s(one) for one in redis.primaries()]


def own_cpu_s() -> float:
    """Return the same of this process."""
    return time.process_time()


async def _used_s(redis: LedgerRedis) -> float:
    text = await command(redis, "INFO", "cpu")
    assert isinstance(text, bytes)
    pairs = dict(line.split(":") for line in text.decode().split() if ":" in line)
    return float(pairs["used_cpu_user"]) + float(pairs["used_cpu_sys"])
