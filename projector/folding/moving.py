"""Moves the states of a swapped rebuild to where all programs read them, in pages.

Rule: from the swap on the rebuilt states count, wherever they stand, so this may be late, be done
twice, or end at any point: commits move what they change, the next run does the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import cast

from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import server_time_ms

_move_states = Script("everfold.projector", "move_states")

PAGE = 500
"""States moved in one step: it takes a few milliseconds."""


async def move_states(log: Log, partition: int, older_than_s: float = 0.0) -> None:
    """Move the states of the last swap, if there is one with states to move, so long ago.

    Raises a leaf of Unavailable; what was moved stays so.
    """
    keys = log.keys.jobs(partition)
    swap = await command(log.redis, "HGET", keys.projector(), "moving")
    if not isinstance(swap, bytes):
        return
    if older_than_s and swap.isdigit():
        age_ms = await server_time_ms(log.redis) - int(swap)
        if age_ms < older_than_s * 1000:
            return
    replaced = log.keys.jobs(partition, rebuilding=True)
    for index in (keys.active(), keys.ended()):
        async for page in _scanned(log, index):
            if not await _move(log, partition, swap, page):
                return
    for index in (replaced.active(), replaced.ended()):
        while page := cast("list[bytes]", await command(log.redis, "ZRANGE", index, 0, PAGE - 1)):
            if not await _move(log, partition, swap, page):
                return
    await _move(log, partition, swap, (), is_all=True)


async def _move(
    log: Log, partition: int, swap: bytes, jobs: Sequence[bytes], *, is_all: bool = False
) -> bool:
    """Move the states of these jobs; say whether it is still this swap of which any are to be."""
    keys, replaced = log.keys.jobs(partition), log.keys.jobs(partition, rebuilding=True)
    touched = (
        *(keys.projector(), keys.active(), keys.ended()),
        *(replaced.active(), replaced.ended()),
    )
    asked: list[Argument] = [swap, keys.job(""), replaced.job(""), int(is_all), *jobs]
    reply = await _move_states.run(log.redis, touched, asked)
    return reply[0] == b"moved"


async def _scanned(log: Log, index: str) -> AsyncIterator[Sequence[bytes]]:
    """Yield the jobs of an index in pages: all that are in it from the beginning to the end.

    One that leaves it meanwhile has changed, and the commit that changed it has moved its state.
    """
    cursor = b"0"
    while True:
        reply = await command(log.redis, "ZSCAN", index, cursor, "COUNT", PAGE)
        cursor, flat = cast("tuple[bytes, list[bytes]]", reply)
        for at in range(0, len(flat), 2 * PAGE):  # a small set comes whole, whatever was asked
            yield flat[at : at + 2 * PAGE : 2]
        if cursor == b"0":
            return
