"""When a server comes back without its newest writes: noticing it, and naming the jobs.

Rule: a server that has started anew may have gone back in time, by a failover or an older file.
Whoever saw more of a job than the log now holds says so, in the log and in a list for `doctor`.
"""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.events.event import Rewound
from everfold.streams.redis.namespace import SCHEMA_VERSION
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import connections_opened, server_info, server_time_ms

ASK_EVERY_S = 1.0


class LostWrites(Struct, frozen=True):
    """What the server lost of one job."""

    job_id: str
    seen_seq: int
    found_seq: int


class ServerWatch:
    """Notes in the namespace when the server has last started anew."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._run_id = ""
        self._restarted_at_ms = 0
        self._looked = (-1, 0.0)
        """Connections opened, and time.monotonic(), when the server was last asked."""

    async def last_restart_ms(self) -> int:
        """Return the server time of its last start that anybody noticed, 0 for none.

        Also makes the namespace's `meta` again where it was wiped: another program would else
        choose other partitions. Raises Unavailable.

        The server is asked again only after a reconnect, without which it cannot have started
        anew, and after a second, for a proxy may reconnect in our place.
        """
        opened, now_s = connections_opened(self._log.redis), time.monotonic()
        if self._looked[0] == opened and now_s - self._looked[1] < ASK_EVERY_S:
            return self._restarted_at_ms
        run_id = (await server_info(self._log.redis, "server")).get("run_id", "")
        if run_id != self._run_id:
            self._restarted_at_ms = await self._note(run_id)
            self._run_id = run_id
        self._looked = (opened, now_s)
        return self._restarted_at_ms

    async def _note(self, run_id: str) -> int:
        redis, meta = self._log.redis, self._log.keys.meta()
        stored = await read_hash(redis, meta)
        if b"partitions" not in stored:
            await self._make_again(meta)
        if stored.get(b"run_id", b"").decode() == run_id:
            return int(stored.get(b"restarted_at_ms", b"0"))
        at_ms = await server_time_ms(self._log.redis)
        await command(redis, "HSET", meta, "run_id", run_id, "restarted_at_ms", at_ms)
        return at_ms

    async def _make_again(self, meta: str) -> None:
        facts: dict[str, str | int] = {
            "partitions": self._log.keys.partitions,
            "schema": SCHEMA_VERSION,
            "generation": self._log.generation,
        }
        for field, value in facts.items():
            await command(self._log.redis, "HSETNX", meta, field, value)


async def record_lost_writes(log: Log, found: LostWrites) -> None:
    """Name the job in the namespace's list and, while it is open, in its own history."""
    payload = msgspec.json.encode(found)
    await command(log.redis, "HSET", log.keys.lost_writes(), found.job_id, payload)
    event = Rewound(seen_seq=found.seen_seq, found_seq=found.found_seq)
    await log.append(found.job_id, event, epoch=0)


async def lost_writes(log: Log) -> list[LostWrites]:
    """Return every job of which the server is known to have lost events."""
    stored = await read_hash(log.redis, log.keys.lost_writes())
    return [msgspec.json.decode(payload, type=LostWrites) for payload in stored.values()]
