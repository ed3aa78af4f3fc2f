"""One typed coroutine per Lua script: the only callers of `lua/`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from msgspec import Struct, field
from redis.asyncio import Redis

from everfold.streams.connections.connection import Argument
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import TooFewReplicas
from everfold.streams.redis.replicas import NONE, Replicas
from everfold.streams.redis.script import Script

Reply = list[bytes | int]

_make_namespace = Script("everfold.streams", "make_namespace")
_raise_levels = Script("everfold.streams", "raise_levels")
_submit = Script("everfold.streams", "submit")
_submit_many = Script("everfold.streams", "submit_many")
_append = Script("everfold.streams", "append")
_claim = Script("everfold.streams", "claim")
_take_over = Script("everfold.streams", "take_over")
_renew = Script("everfold.streams", "renew")
_release = Script("everfold.streams", "release")
_promote = Script("everfold.streams", "promote")
_promote_blocked = Script("everfold.streams", "promote_blocked")
_look_at_clock = Script("everfold.streams", "look_at_clock", is_read_only=True)
_find_work = Script("everfold.streams", "find_work")
_restart_leases = Script("everfold.streams", "restart_leases")
_restore_leases = Script("everfold.streams", "restore_leases")
_shift_times = Script("everfold.streams", "shift_times")
_move_times = Script("everfold.streams", "move_times")
_read_job = Script("everfold.streams", "read_job", is_read_only=True)
_find_entries = Script("everfold.streams", "find_entries", is_read_only=True)
_raise_last_entry = Script("everfold.streams", "raise_last_entry")


RENEW_SOURCE = _renew.source
"""For the process that renews leases, which loads no more of Everfold than it needs."""


class NewEvent(Struct, frozen=True, kw_only=True):
    """An encoded event on its way into the log, with the conditions under which it may enter.

    append.lua explains each of them.
    """

    job_id: str
    event_id: str
    payload: bytes
    """The event's JSON."""
    author: str = "-"
    """Whose event it is: the head remembers the last ids of each author."""
    expected: int = -1
    epoch: int = 0
    holder: str = ""
    effect: str = ""
    is_intent: bool = False
    """Whether something is done outside of the log once it is in there."""
    made_s: float = field(default_factory=steady_s)


def looked_up_to(seq: int) -> int:
    """Return the `expected` of an append that accepts any, after the caller has looked for its id
    in all events up to `seq`."""
    return -2 - seq


async def make_namespace(
    redis: Redis,
    *,
    meta: str,
    partitions: int,
    tags: bytes,
    schema: int,
    generation: str,
    run_id: str,
    level: int,
) -> None:
    """Run make_namespace.lua: of two programs that make a namespace at once, one decides."""
    arguments = (partitions, schema, generation, run_id, level, tags)
    await _make_namespace.run(redis, (meta,), arguments)


async def raise_levels(redis: Redis, *, meta: str, level: int) -> Reply:
    """Run raise_levels.lua. Return what may be written, and what must be readable, now."""
    return cast("Reply", (await _raise_levels.run(redis, (meta,), (level,)))[1:])


async def submit(
    redis: Redis,
    *,
    keys: Sequence[str],
    job_id: str,
    event_id: str,
    payload: bytes,
    sha256: str,
    graph: bytes,
    due_ms: int,
    start_within_ms: int,
    wake_channel: str,
    wake_message: str,
    partitions: int,
    place: Sequence[str],
    taken: str = "",
    room_until_ms: int = 0,
    replicas: Replicas = NONE,
) -> Reply:
    """Run submit.lua; `keys` in the order of its KEYS, `place` is what decides where the job waits:
    queue, priority, signature of its needs, user and kind. `taken` is a place of the namespace's
    order, up to `room_until_ms` its limit is kept. Return one of its outcomes."""
    arguments = (job_id, event_id, payload, sha256, graph)
    times = (due_ms, start_within_ms, wake_channel, wake_message)
    sent: Sequence[Argument] = (*arguments, *times, partitions, *place, taken, room_until_ms)
    return cast("Reply", await _submit.run(redis, keys, sent, replicas))


async def submit_many(
    redis: Redis,
    *,
    keys: Sequence[str],
    start_within_ms: int,
    wake: tuple[str, str],
    place: Sequence[str],
    jobs: Sequence[tuple[str, str, bytes, str, bytes, str]],
    replicas: Replicas = NONE,
) -> list[Reply]:
    """Run submit_many.lua; `keys` in the order of its KEYS, `jobs` as it takes them. `place` is
    queue, priority, user and kind. Return one of its outcomes for each job."""
    sent: list[Argument] = [start_within_ms, *wake, *place]
    for job in jobs:
        sent += job
    return cast("list[Reply]", await _submit_many.run(redis, keys, sent, replicas))


async def append(
    redis: Redis,
    *,
    log: str,
    later: str,
    workflows: str,
    tag: str,
    workflow_ttl_ms: int,
    heads: Sequence[str],
    events: Sequence[NewEvent],
    replicas: Replicas = NONE,
) -> tuple[list[Reply], TooFewReplicas | None]:
    """Run append.lua. Return one of its outcomes for each event, and whether too few replicas have
    what was written; `heads` are the events' jobs'."""
    arguments: list[Argument] = [tag, workflow_ttl_ms]
    for e in events:
        arguments += (e.job_id, e.event_id, e.author, e.expected)
        arguments += (e.epoch, e.holder, e.effect, e.payload)
    keys = (log, later, workflows, *heads)
    replies, too_few = await _append.run_replicated(redis, keys, arguments, replicas)
    return cast("list[Reply]", replies), too_few


async def claim(
    redis: Redis,
    *,
    keys: Sequence[str],
    runner: str,
    reads: str,
    queue: str,
    wanted: Sequence[tuple[int, str, int | None]],
    payloads: Sequence[bytes],
    granted: bytes | None = None,
) -> list[Reply]:
    """Run claim.lua; `keys` in the order of its KEYS. `wanted` is a job each: the number of its
    partition there, from 0; its line; how far behind it may stand at most. `granted` is what was
    reserved. Return the jobs, and what is to be reserved."""
    asked: list[Argument] = [runner, reads, queue]
    for (number, line, place), payload in zip(wanted, payloads, strict=True):
        asked += (number + 1, line, "" if place is None else place, payload)
    if granted is not None:
        asked.append(granted)
    reply = await _claim.run(redis, keys, asked)
    return cast("list[Reply]", reply[1:])


async def take_over(
    redis: Redis,
    *,
    log: str,
    dispatch: str,
    tag: str,
    runner: str,
    idle_limit_ms: int,
    cursor: str,
    suspect: str,
    latest_ms: int,
    payloads: Sequence[bytes],
) -> tuple[str, list[Reply]] | None:
    """Run take_over.lua. Return the next cursor ("-" at the end, "" where no lease is known) and
    the jobs that were leased; None when the server's clock is ahead of `latest_ms`."""
    asked = (tag, runner, idle_limit_ms, cursor, suspect, latest_ms)
    reply = await _take_over.run(redis, (log, dispatch), (*asked, *payloads))
    if reply[0] == b"ahead":
        return None
    cursor = "" if reply[0] == b"no_group" else cast("bytes", reply[1]).decode()
    return cursor, cast("list[Reply]", reply[2:])


async def restore_leases(
    redis: Redis, *, dispatch: str, tag: str, first: str, most: int
) -> tuple[int, str]:
    """Run restore_leases.lua. Return how many were released, and the next page, "" at the end."""
    reply = await _restore_leases.run(redis, (dispatch,), (tag, first, most))
    return cast("int", reply[1]), cast("bytes", reply[2]).decode()


async def renew(
    redis: Redis,
    *,
    dispatch: str,
    runner: str,
    heads: Sequence[str],
    leases: Sequence[tuple[int, str]],
) -> list[Reply]:
    """Run renew.lua for leases as (epoch, dispatch entry id). Return one outcome for each."""
    flat = [value for lease in leases for value in lease]
    return cast("list[Reply]", await _renew.run(redis, (dispatch, *heads), (runner, *flat)))


async def release(
    redis: Redis,
    *,
    keys: Sequence[str],
    job_id: str,
    event_id: str,
    epoch: int,
    runner: str,
    payload: bytes,
    due: str,
    wake_channel: str,
    wake_message: str,
    author: str,
    looked: int,
    reads: str = "",
    wait_ms: int = 0,
    kept_for: str = "",
    replicas: Replicas = NONE,
) -> Reply:
    """Run release.lua; `keys` in the order of its KEYS. Return one of its outcomes."""
    arguments = (job_id, event_id, f"{epoch} {runner}", payload, due)
    wake = (wake_channel, wake_message, author, looked, reads, wait_ms, kept_for)
    return cast("Reply", await _release.run(redis, keys, (*arguments, *wake), replicas))


async def promote(
    redis: Redis,
    *,
    later: str,
    deadlines: str,
    clock: str,
    tag: str,
    most: int,
    wake_channel: str,
    wake_message: str,
    latest_ms: int,
) -> Reply | None:
    """Run promote.lua. Return the server's time, the count, the next due time, and the overdue job
    ids; None when the server's clock is ahead of `latest_ms`."""
    arguments = (tag, most, wake_channel, wake_message, latest_ms)
    reply = await _promote.run(redis, (later, deadlines, clock), arguments)
    return None if reply[0] == b"ahead" else cast("Reply", reply[1:])


async def look_at_clock(redis: Redis, *, clock: str) -> list[int]:
    """Run look_at_clock.lua. Return its five numbers."""
    reply = await _look_at_clock.run(redis, (clock,), ())
    return [int(cast("int", number)) for number in reply[1:]]


async def find_work(
    redis: Redis,
    *,
    clocks: Sequence[str],
    tags: Sequence[str],
    queues: Sequence[str],
    latest_ms: int,
) -> tuple[int, list[list[object]]]:
    """Run find_work.lua. Return the server's time, and what it says of each partition."""
    reply = await _find_work.run(redis, clocks, (latest_ms, len(queues), *queues, *tags))
    return cast("int", reply[1]), cast("list[list[object]]", reply[2:])


async def restart_leases(
    redis: Redis, *, queues: str, tag: str, cursor: tuple[str, str], most: int
) -> tuple[int, tuple[str, str]]:
    """Run restart_leases.lua. Return how many leases begin anew, and the next cursor; of the first
    page, and after the last one, it is ("", "")."""
    reply = await _restart_leases.run(redis, (queues,), (tag, *cursor, most))
    _, count, lane, place = cast("tuple[bytes, int, bytes, bytes]", tuple(reply))
    return count, (lane.decode(), place.decode())


async def shift_times(
    redis: Redis, *, keys: Sequence[str], tag: str, step_ms: int, known_ms: int, anew_ms: int
) -> str:
    """Run shift_times.lua; `keys` in the order of its KEYS. Return the name of its outcome."""
    reply = await _shift_times.run(redis, keys, (tag, step_ms, known_ms, anew_ms))
    return cast("bytes", reply[0]).decode()


async def move_times(redis: Redis, *, keys: Sequence[str], tag: str, most: int) -> bool:
    """Run move_times.lua; `keys` in the order of its KEYS. Say whether to call it again."""
    reply = await _move_times.run(redis, keys, (tag, most))
    return reply[0] == b"moving"


async def promote_blocked(
    redis: Redis,
    *,
    blocked: str,
    later: str,
    tag: str,
    reads: str,
    first: int,
    most: int,
    wake_channel: str,
    wake_message: str,
) -> Reply:
    """Run promote_blocked.lua. Return the next index, the count of moved, and the named job ids."""
    arguments = (tag, reads, first, most, wake_channel, wake_message)
    reply = await _promote_blocked.run(redis, (blocked, later), arguments)
    return cast("Reply", reply[1:])


async def read_job(
    redis: Redis,
    *,
    log: str,
    head: str,
    job_id: str,
    at: str,
    after_seq: int,
    most: int,
    most_bytes: int,
) -> list[object]:
    """Run read_job.lua. Return one of its outcomes."""
    return await _read_job.run(redis, (log, head), (job_id, at, after_seq, most, most_bytes))


async def find_entries(
    redis: Redis,
    *,
    logs: Sequence[str],
    trimmed: Sequence[str],
    entries: Sequence[tuple[int, str, str, str, str]],
) -> list[bool]:
    """Run find_entries.lua for (number of its log, from 0; entry id, job id, event id or "", its
    author or ""). Say for each whether the log has it, or had it until it was trimmed."""
    flat: list[Argument] = []
    for number, *entry in entries:
        flat += [number + 1, *entry]
    keys = [key for pair in zip(logs, trimmed, strict=True) for key in pair]
    reply = await _find_entries.run(redis, keys, flat)
    return [bool(found) for found in reply[1:]]


async def raise_last_entry(redis: Redis, *, log: str, entry_id: str) -> None:
    """Run raise_last_entry.lua."""
    await _raise_last_entry.run(redis, (log,), (entry_id,))
