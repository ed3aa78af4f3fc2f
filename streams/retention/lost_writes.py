"""Detect acknowledged writes that a restart or failover lost, and record the jobs they were of.

Rule: a server that has started anew may have gone back in time. A process that saw more of a job
than the log now holds records it, in the log and in a list for `everfold doctor`.
"""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.events.event import Rewound
from everfold.streams.redis.pages import read_readable_hash
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_info, server_time_ms

ASK_EVERY_S = 1.0
"""Seconds after which the server is asked again, although nothing was reconnected."""


class LostWrites(Struct, frozen=True):
    """What the server lost of one job."""

    job_id: str
    seen_seq: int
    """Sequence number of the last event that was acknowledged."""
    found_seq: int
    """Sequence number of the last event that the log had when this was noticed; 0 for none."""


class ServerWatch:
    """Records in the namespace when the server has last started anew."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._run_id = ""
        self._restarted_at_ms = 0
        self._looked = (-1, 0.0)
        """Connections opened, and time.monotonic() in seconds, when the server was last asked."""

    async def last_restart_ms(self) -> int:
        """Return when a restart of the server was last noticed, Unix ms of the server; 0 for never.

        The server is asked only after a reconnect, without which it
        cannot have started anew, and after a second, because a proxy may reconnect in our place.
        Raises as `Log.check_level` does.
        """
        opened, now_s = self._log.redis.connections_opened(), time.monotonic()
        if self._looked[0] == opened and now_s - self._looked[1] < ASK_EVERY_S:
            return self._restarted_at_ms
        run_id = (await server_info(self._log.redis, "server")).get("run_id", "")
        if run_id != self._run_id or not run_id:
            self._restarted_at_ms = await self._note(run_id)
            self._run_id = run_id
        self._looked = (opened, now_s)
        return self._restarted_at_ms

    async def _note(self, run_id: str) -> int:
        redis, meta = self._log.redis, self._log.keys.meta()
        await self._log.check_level()
        stored = await read_hash(redis, meta)
        if not run_id or stored.get(b"run_id", b"") == run_id.encode():
            # Without INFO the server's runs are not told apart; others may have noted a restart.
            text = stored.get(b"restarted_at_ms", b"0")
            return int(text) if text.isdigit() and len(text) < 16 else 0
        at_ms = await server_time_ms(self._log.redis)
        await command(redis, "HSET", meta, "run_id", run_id, "restarted_at_ms", at_ms)
        return at_ms


async def record_lost_writes(log: Log, found: LostWrites) -> None:
    """Add the job to the namespace's list and append a `rewound` event to its history.

    Raises JobClosed or JobUnknown when only the list could be written; a leaf of Unavailable. It
    may be repeated, with one more event.
    """
    payload = msgspec.json.encode(found)
    await command(log.redis, "HSET", log.keys.lost_writes(), found.job_id, payload)
    event = Rewound(seen_seq=found.seen_seq, found_seq=found.found_seq)
    await log.append(found.job_id, event, epoch=0)


async def lost_writes(log: Log) -> list[LostWrites]:
    """Return every job of which lost events were recorded. Raises a leaf of Unavailable."""
    found = await read_readable_hash(log.redis, log.keys.lost_writes(), LostWrites)
    return list(found.values())
