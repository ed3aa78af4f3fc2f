"""Operators' wishes that a runner drains: asked for by a key, which its heartbeat reads.

Rule: a wish is for one start of a process: a later runner of the same name is not meant. A hint on
the wake channel makes it act at once; without it, at its next heartbeat.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.errors import RunnerUnknown
from everfold.streams.leases.acts import note_act
from everfold.streams.leases.registry import RunnerEntry, registered_runners
from everfold.streams.redis.hints import send_hint
from everfold.streams.redis.pages import Hashes, read_readable_hash
from everfold.streams.redis.server import server_time_ms


class DrainWish(Struct, frozen=True, kw_only=True):
    """Who wants a runner to drain, and since when (server time, Unix ms)."""

    actor: str
    at_ms: int
    instance: str
    """That of the runner's entry in the registry."""


async def ask_to_drain(log: Log, runner: str) -> RunnerEntry:
    """Ask a registered runner to drain, as SIGTERM does; return its entry.

    It deregisters once it has ended. Raises RunnerUnknown, or a leaf of Unavailable.
    """
    known = await registered_runners(log)
    if runner not in known:
        raise RunnerUnknown(runner, tuple(sorted(known)))
    await note_act(log, "drain_runner", runner)
    at_ms, entry = await server_time_ms(log.redis), known[runner]
    wish = DrainWish(actor=log.actor, at_ms=at_ms, instance=entry.instance)
    await log.write("HSET", log.keys.drains(), runner, msgspec.json.encode(wish))
    await send_hint(log.redis, log.keys.wake(), f"drain {runner}")
    return entry


async def drain_wishes(log: Log, among: Hashes | None = None) -> dict[str, DrainWish]:
    """Return the wishes by runner. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.drains(), DrainWish, among)
