"""One process among those that share the partitions of a projection or a subscription.

Each partition has a lease in Redis, by the server's clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import cast

import anyio
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.leases.registry import forget_process, note_process
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script

_acquire = Script("everfold.projector", "acquire_partition")
_acquire_all = Script("everfold.projector", "acquire_partitions")
_count = Script("everfold.projector", "count_members")

LIVE_FOR_MS = 5_000
"""A process without a heartbeat for this long is not counted."""

LEVEL_EVERY_S = 2.0
"""How often a process reads whether it can still read the namespace's events, as runners do."""

NOTE_EVERY_S = 4.0
"""How often a process says which events it reads: `everfold health` waits longer for news."""


class Acquired(Struct, frozen=True):
    """The lease is this process's own until it runs out."""

    is_new: bool
    """Another process, or nobody, had it right before: what is cached may be out of date."""


class Member:
    """One process start, among those that share `group`: a projection's or a subscription's name.

    `token` is unique per process start, and its consumer name too. `lease_key` is the hash in which
    a partition's lease is stored. All methods raise Unavailable.
    """

    def __init__(self, log: Log, group: str, name: str, lease_s: float) -> None:
        self.log = log
        self._group = group
        self._heartbeats = log.keys.projectors(group)
        self._lease_ms = int(lease_s * 1000)
        self.token = f"{name}-{secrets.token_hex(3)}"
        self._level_at_s = self._note_at_s = 0.0

    async def heartbeat(self) -> int:
        """Record that this process lives; return how many do, this one included.

        Raises NamespaceTooNew where this program could not read the namespace's events.
        """
        if anyio.current_time() >= self._level_at_s:
            await self.log.check_level()
            self._level_at_s = anyio.current_time() + LEVEL_EVERY_S
        if anyio.current_time() >= self._note_at_s:
            await note_process(self.log, self.token, f"reader of {self._group}")
            self._note_at_s = anyio.current_time() + NOTE_EVERY_S
        reply = await _count.run(self.log.redis, (self._heartbeats,), (self.token, LIVE_FOR_MS))
        return cast("int", reply[1])

    async def leave(self) -> None:
        """Be counted no more. Leases are not released by this."""
        await command(self.log.redis, "ZREM", self._heartbeats, self.token)
        await forget_process(self.log, self.token)

    async def acquire(self, lease_key: str) -> Acquired | None:
        """Acquire or renew a partition's lease; None while another process has it."""
        reply = await self._run(lease_key, self._lease_ms)
        return Acquired(reply[2] == b"new") if reply[0] == b"acquired" else None

    async def acquire_all(self, lease_keys: Sequence[str], most: int) -> list[Acquired | None]:
        """Acquire or renew leases of one server in one call, in their order until there are `most`;
        None for the others. Raises as `acquire` does for any of them, and then has none of them.
        """
        if not lease_keys:
            return []
        arguments = (self.token, self._lease_ms, most)
        reply = await _acquire_all.run(self.log.redis, lease_keys, arguments)
        return [Acquired(how == b"new") if how else None for how in reply[1:]]

    async def release(self, lease_key: str) -> None:
        """Make the lease free at once; nothing happens when another process has it."""
        await self._run(lease_key, 0)

    async def _run(self, lease_key: str, lease_ms: int) -> list[object]:
        return await _acquire.run(self.log.redis, (lease_key,), (self.token, lease_ms))
