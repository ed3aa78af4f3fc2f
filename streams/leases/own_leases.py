"""The leases that the server has for one runner, those of lost answers too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from everfold.streams.appending.outcomes import Lease
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.replies import NoGroup
from everfold.streams.errors import WrongKeyType
from everfold.streams.events.stored_fields import stored_number
from everfold.streams.leases.fairness import Lane
from everfold.streams.redis.keys import RUNNERS_GROUP, Keyspace
from everfold.streams.redis.redis_errors import command

PAGE = 500
"""Leases that one answer of the server names."""


async def own_leases(
    redis: LedgerRedis, keys: Keyspace, runner: str, partition: int, lanes: Sequence[Lane]
) -> list[Lease]:
    """Return a runner's leases in a partition. Raises a leaf of Unavailable.

    A stream or a head that another program has overwritten has no leases.
    """
    # Side by side: one by one, a slow link would take seconds.
    of_lanes = [_leases_in(redis, keys, runner, partition, lane) for lane in lanes]
    return [lease for leases in await asyncio.gather(*of_lanes) for lease in leases]


async def _leases_in(
    redis: LedgerRedis, keys: Keyspace, runner: str, partition: int, lane: Lane
) -> list[Lease]:
    dispatch = keys.dispatch(partition, *lane)
    first, leases = "-", list[Lease]()
    while True:
        ask = ("XPENDING", dispatch, RUNNERS_GROUP, first, "+", PAGE, runner)
        try:
            rows = cast("list[list[bytes]]", await command(redis, *ask))
        except (NoGroup, WrongKeyType):
            return leases
        found = [await _lease(redis, keys, runner, dispatch, lane, row[0]) for row in rows]
        leases += [lease for lease in found if lease is not None]
        if len(rows) < PAGE:
            return leases
        first = f"({rows[-1][0].decode()}"


async def _lease(
    redis: LedgerRedis, keys: Keyspace, runner: str, dispatch: str, lane: Lane, entry: bytes
) -> Lease | None:
    found = cast(
        "list[tuple[bytes, list[bytes]]]", await command(redis, "XRANGE", dispatch, entry, entry)
    )
    if not found:
        return None
    job_id = found[0][1][1].decode(errors="replace")
    fields = ("epoch", "seq", "owner", "phase")
    try:
        values = await command(redis, "HMGET", keys.head(job_id), *fields)
    except WrongKeyType:
        return None
    epoch, seq, owner, phase = cast("list[bytes | None]", values)
    if owner != runner.encode() or phase != b"leased":
        return None
    numbers = {b"epoch": epoch or b"0", b"seq": seq or b"0"}
    if None in [stored_number(numbers, field) for field in numbers]:
        return None  # its head is broken: doctor names the job
    return Lease(
        job_id=job_id,
        runner=runner,
        epoch=int(epoch or 0),
        seq=int(seq or 0),
        queue=lane[0],
        priority=lane[1],
        dispatch_id=entry.decode(),
    )
