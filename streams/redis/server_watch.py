"""Notices, for each primary of a namespace, that it is another one or has started anew.

Rule: which run of a server holds a partition is written down for all, with how far its replication
had come, so that the next one tells how much it lacks. Where the server refuses INFO nothing of
this is known: writes are then found missing only by looking for them. While the node with the
namespace's own keys is away, a look goes by what this process knows, and is written down later.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar, cast

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.errors import OUTAGES, EverfoldError, Unavailable
from everfold.streams.events.ids import uuid_time_ms
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.pages import read_readable_hash
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.server import server_info, server_time_ms

T = TypeVar("T")

ASK_EVERY_S = 1.0
"""Seconds after which a server is asked again, although nothing was reconnected: a proxy may
reconnect in our place."""

STORE_EVERY_S = 5.0
"""Seconds after which the namespace is told anew how far a server's replication has come."""

NAMESPACE_WITHIN_S = 1.0
"""Longest wait for the node with the namespace's own keys: the look at another one goes on."""

TRAIL = 120
"""Samples of one run that a process keeps."""

RUNS_LIMIT = 50
"""Runs of servers that a namespace keeps, the newest."""

UNKNOWN = -1
"""Bytes that nobody can tell."""


class ServerRun(Struct, frozen=True):
    """One run of one server as the primary of some partitions, as a process first saw it."""

    node: str
    """Its address."""
    since_ms: int = 0
    """When it was first seen to be the primary, Unix ms of its clock; 0 for the first of all."""
    replid: str = ""
    offset: int = 0
    """Bytes that it had written for its replicas at `seen_ms`."""
    seen_ms: int = 0
    earlier: str = ""
    """Run id of the one before, empty where none is known."""
    kept_until_ms: int = 0
    """All that was written until then is kept, by the clock of the one before; 0 for unknown."""
    lost_bytes: int = UNKNOWN
    """Bytes of the one before that this one never got, of what that had written by `lost_by_ms`."""
    lost_by_ms: int = 0
    """When the one before was last seen; what it has written since is not counted."""


class _Sample(Struct, frozen=True):
    """What a server says of itself."""

    run_id: str
    is_primary: bool
    replid: str
    replid_before: str
    offset_before: int
    """How far it had followed the one with that id."""
    offset: int
    now_ms: int
    up_s: int
    """For how long it has run."""


class _Known(Struct):
    """What this process last saw of one node."""

    opened: tuple[int, int] = (-1, -1)
    """Connections opened, and the version of the client."""
    at_s: float = 0.0
    stored_at_s: float = 0.0
    run_id: str = ""
    mark: str = ""
    since_ms: int = 0


class _Trail(Struct):
    """How far one run had come, as this process saw it."""

    run: ServerRun
    is_written_down: bool = False
    samples: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=TRAIL))
    """Time and offset, the oldest first."""


class ServerWatch:
    """Watches the primaries of one namespace for one process."""

    def __init__(self, redis: LedgerRedis, keys: Callable[[], Keyspace]) -> None:
        self._redis, self._keys = redis, keys
        self._known: dict[str, _Known] = {}
        self._trails: dict[str, _Trail] = {}
        self._run_of: dict[str, str] = {}
        """Key that was asked for -> the run that had it last."""

    async def last_restart_ms(self, partition: int) -> int:
        """Return when the primary of a partition was last found to be another one or to have
        started anew, Unix ms of its clock; 0 for never. Raises a leaf of Unavailable."""
        return (await self._look(self._keys().log(partition))).since_ms

    async def mark(self, partition: int) -> str:
        """Return a text that changes when writes of a partition may have been lost; empty where
        the server does not tell. Raises a leaf of Unavailable."""
        return (await self._look(self._keys().log(partition))).mark

    async def lost_bytes(self, partition: int) -> int:
        """Return how many bytes the primary of a partition lacks of the one before it; UNKNOWN."""
        run = self._trails.get(self._run_of.get(self._keys().log(partition), ""))
        return UNKNOWN if run is None else run.run.lost_bytes

    async def look_at_all(self) -> None:
        """Look at every primary once, and tell the namespace; passes over those that are away or
        let nobody in."""
        keys, first_of = self._keys(), dict[str, str]()
        for name in map(keys.log, range(keys.partitions)):
            with suppress(Unavailable):  # nobody has it now
                first_of.setdefault(self._redis.node_of(name), name)
        for key in first_of.values():
            with suppress(*OUTAGES):
                await self._look(key)

    async def _look(self, key: str) -> _Known:
        redis = self._redis.at(key)
        node = self._redis.node_of(key)
        known = self._known.setdefault(node, _Known())
        opened = (redis.connections_opened(), self._redis.version)
        if known.opened == opened and time.monotonic() - known.at_s < ASK_EVERY_S:
            return known
        sample = await _sample(redis)
        if sample is None:
            known.since_ms = max(known.since_ms, await self._noted_by_others())
        elif sample.is_primary:
            await self._note(key, node, known, sample)
        else:
            known.mark = f"replica {sample.run_id}"  # another one is the primary by now
        known.opened, known.at_s = opened, time.monotonic()
        return known

    async def _stored(self) -> dict[str, ServerRun] | None:
        """Return what the namespace knows; None where its node does not say."""
        return await _in_time(read_runs(self._redis, self._keys()))

    async def _noted_by_others(self) -> int:
        stored = await self._stored() or {}
        return max((run.since_ms for run in stored.values()), default=0)

    async def _note(self, key: str, node: str, known: _Known, now: _Sample) -> None:
        trail = self._trails.get(now.run_id)
        is_due = time.monotonic() - known.stored_at_s > STORE_EVERY_S
        if trail is None or known.run_id != now.run_id or (is_due and not trail.is_written_down):
            trail = await self._noted(key, node, now)
        went_back = bool(trail.samples) and now.offset < trail.samples[-1][1]
        if went_back:
            trail.samples.clear()
        trail.samples.append((now.now_ms, now.offset))
        trail.run = replace(trail.run, replid=now.replid, offset=now.offset, seen_ms=now.now_ms)
        known.run_id, known.since_ms = now.run_id, trail.run.since_ms
        back = f" {now.now_ms}" if went_back else ""
        known.mark = f"{now.run_id} {now.replid}{back}"
        self._run_of[key] = now.run_id
        if is_due:
            if trail.is_written_down:
                await _in_time(self._store(now.run_id, trail.run))
            known.stored_at_s = time.monotonic()

    async def _noted(self, key: str, node: str, now: _Sample) -> _Trail:
        """Take over what the namespace knows of a run; write it down where it knows nothing."""
        answered = await self._stored()
        stored = answered or {}
        run = stored.get(now.run_id) or await self._new_run(key, node, now, stored)
        written = stored.get(now.run_id)
        if written is None and answered is not None:
            written = await _in_time(self._write_down(now.run_id, run))
        trail = self._trails.setdefault(now.run_id, _Trail(run))
        trail.run, trail.is_written_down = written or run, written is not None
        return trail

    async def _write_down(self, run_id: str, run: ServerRun) -> ServerRun:
        """Write down a run that the namespace does not know; return what it knows then."""
        servers, payload = self._keys().servers(), msgspec.json.encode(run)
        await command(self._redis, "HSETNX", servers, run_id, payload)
        stored = await read_runs(self._redis, self._keys())
        old = sorted(stored, key=lambda one: stored[one].seen_ms)[:-RUNS_LIMIT]
        if old:
            await command(self._redis, "HDEL", servers, *old)
        return stored.get(run_id, run)

    async def _new_run(
        self, key: str, node: str, now: _Sample, stored: Mapping[str, ServerRun]
    ) -> ServerRun:
        trail = self._trails.get(now.run_id)
        if trail is not None and trail.run.earlier:
            return trail.run  # not written down yet
        made = ServerRun(node, now.now_ms, now.replid, now.offset, now.now_ms)
        known = {**stored, **{run_id: trail.run for run_id, trail in self._trails.items()}}
        known.pop(now.run_id, None)
        earlier = self._run_before(key, node, now, known)
        if earlier:
            return _after(made, earlier, known[earlier], self._trails.get(earlier), now)
        meta = await _in_time(read_hash(self._redis, self._keys().meta())) or {}
        first = meta.get(b"run_id", b"").decode(errors="replace")
        if self._redis.at(self._keys().meta()) is not self._redis.at(key):
            # Where the namespace was made says nothing of the other nodes of a cluster.
            return replace(made, since_ms=0) if _ran_before(meta, now) else made
        if first in ("", now.run_id):
            return made if known and not _ran_before(meta, now) else replace(made, since_ms=0)
        is_there = first in known and self._is_elsewhere(known[first], node)
        return made if is_there else replace(made, earlier=first)

    def _run_before(self, key: str, node: str, now: _Sample, known: Mapping[str, ServerRun]) -> str:
        """Return the id of the run whose place another one has taken; empty for an unknown one."""
        followed = [i for i, run in known.items() if now.replid_before == run.replid != ""]
        if followed:
            return max(followed, key=lambda run_id: known[run_id].seen_ms)
        before = self._run_of.get(key, "")
        if before not in ("", now.run_id) and not self._is_elsewhere(known[before], node):
            return before
        there = [i for i, run in known.items() if run.node == node and i != now.run_id]
        return max(there, key=lambda run_id: known[run_id].seen_ms, default="")

    def _is_elsewhere(self, run: ServerRun, node: str) -> bool:
        """Say whether a run is a primary beside this node: then the slot was moved."""
        return run.node != node and run.node in {one.name for one in self._redis.primaries()}

    async def _store(self, run_id: str, run: ServerRun) -> None:
        payload = msgspec.json.encode(run)
        await command(self._redis, "HSET", self._keys().servers(), run_id, payload)


async def _in_time(asked: Awaitable[T]) -> T | None:
    """Return what the namespace's node says; None where it is away, is full, gives no right to
    the key, or has something of another program there."""
    with suppress(EverfoldError, TimeoutError):
        async with asyncio.timeout(NAMESPACE_WITHIN_S):
            return await asked
    return None


def _ran_before(meta: Mapping[bytes, bytes], now: _Sample) -> bool:
    """Say whether a server has run since before the namespace was made."""
    try:
        made_ms = uuid_time_ms(meta.get(b"generation", b"").decode(errors="replace"))
    except ValueError:
        return False
    return now.now_ms - now.up_s * 1000 <= made_ms


def _after(
    made: ServerRun, run_id: str, earlier: ServerRun, trail: _Trail | None, now: _Sample
) -> ServerRun:
    """Return a run that has taken the place of another one, with what it lacks of that."""
    made = replace(made, earlier=run_id, lost_by_ms=earlier.seen_ms)
    if now.replid_before != earlier.replid or not earlier.replid:
        return made
    samples = [*(trail.samples if trail else ()), (earlier.seen_ms, earlier.offset)]
    kept = [time_ms for time_ms, offset in samples if offset <= now.offset_before]
    lost = max(0, earlier.offset - now.offset_before)
    return replace(made, lost_bytes=lost, kept_until_ms=max(kept, default=0))


async def _sample(redis: PipeliningRedis) -> _Sample | None:
    """Ask a server; None where it refuses INFO. Raises a leaf of Unavailable."""
    said = await server_info(redis, "server", "replication")
    if not said.get("run_id"):
        return None
    before = said.get("master_replid2", "")  # zeros where it followed none
    return _Sample(
        run_id=said["run_id"],
        is_primary=said.get("role", "master") == "master",
        replid=said.get("master_replid", ""),
        replid_before=before if before.strip("0") else "",
        offset_before=_number(said, "second_repl_offset") - 1,
        offset=_number(said, "master_repl_offset"),
        now_ms=_number(said, "server_time_usec") // 1000 or await server_time_ms(redis),
        up_s=_number(said, "uptime_in_seconds"),
    )


def _number(said: Mapping[str, str], name: str) -> int:
    text = said.get(name, "0")
    return int(text) if text.isdigit() and len(text) < 19 else 0


async def read_runs(redis: LedgerRedis, keys: Keyspace) -> dict[str, ServerRun]:
    """Return run id -> the run of each server that was seen as a primary of the namespace.

    Raises a leaf of Unavailable.
    """
    return cast("dict[str, ServerRun]", await read_readable_hash(redis, keys.servers(), ServerRun))


async def server_changes(redis: LedgerRedis, keys: Keyspace) -> list[ServerRun]:
    """Return each run of a server that took the place of another one, the oldest first.

    Raises a leaf of Unavailable.
    """
    found = [run for run in (await read_runs(redis, keys)).values() if run.earlier]
    return sorted(found, key=lambda run: run.since_ms)
