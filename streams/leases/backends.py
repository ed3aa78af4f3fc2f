"""What a namespace knows of its backends: seen when, retired, given up, prompts left behind.

Rule: everything read back may be anything; what cannot be decoded is left out, never raised.
Entries are bounded: `forget_old` drops what nobody has touched for KEEP_S.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.errors import BackendUnknown, InvalidName
from everfold.streams.redis.redis_errors import command, read_readable_hash
from everfold.streams.redis.server import server_time_ms

KEEP_S = 7 * 86_400.0
"""How long an unseen backend and an abandoned prompt are remembered."""

ABANDONED_LIMIT = 10_000
"""Most abandoned prompts of a namespace. Beyond it the oldest are forgotten."""


class BackendEntry(Struct, frozen=True, kw_only=True):
    """What the runners last saw of a backend."""

    name: str
    seen_ms: int
    """Server time when a runner last reached it, or first missed it; Unix ms."""
    by: str = ""
    """The runner that wrote this."""
    is_reached: bool = True
    why: str = ""
    """Why it takes no jobs, empty while it does."""


class Mark(Struct, frozen=True, kw_only=True):
    """An operator's word: who, and when in Unix ms."""

    actor: str
    at_ms: int
    attempt: int = 0


class Abandoned(Struct, frozen=True, kw_only=True):
    """A prompt that was given up on a backend that could not be asked."""

    backend: str
    job_id: str
    attempt: int
    prompt_id: str
    client_id: str
    since_ms: int


async def note_backends(log: Log, entries: list[BackendEntry]) -> None:
    """Write what this runner sees now. Raises a leaf of Unavailable."""
    if entries:
        rows = [part for e in entries for part in (e.name, msgspec.json.encode(e))]
        await command(log.redis, "HSET", log.keys.backends(), *rows)


async def seen_backends(log: Log) -> dict[str, BackendEntry]:
    """Return every backend by name. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.backends(), BackendEntry)


async def retired_backends(log: Log) -> dict[str, Mark]:
    """Return who retired which backend. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.retired(), Mark)


async def retire_backend(log: Log, name: str) -> None:
    """Take a backend out of service: it gets no new jobs, what waits there is taken back, and what
    it holds while nobody reaches it is lost. Raises BackendUnknown, Unavailable."""
    known = await seen_backends(log)
    if name not in known:
        raise BackendUnknown(name, tuple(sorted(known)))
    mark = Mark(actor=log.actor, at_ms=await server_time_ms(log.redis))
    await command(log.redis, "HSET", log.keys.retired(), name, msgspec.json.encode(mark))


async def return_backend(log: Log, name: str) -> bool:
    """Put a retired backend into service again; False when it was not retired."""
    return await command(log.redis, "HDEL", log.keys.retired(), name) == 1


async def give_up_attempt(log: Log, job_id: str, attempt: int) -> None:
    """Have a job's present attempt given up by its runner, whatever its backend says.

    Raises InvalidName for a job without an attempt, Unavailable.
    """
    if attempt < 1:
        raise InvalidName("job", job_id, "it has no attempt that could be given up")
    at_ms = await server_time_ms(log.redis)
    mark = msgspec.json.encode(Mark(actor=log.actor, at_ms=at_ms, attempt=attempt))
    await command(log.redis, "HSET", log.keys.given_up(), job_id, mark)
    await command(log.redis, "PUBLISH", log.keys.wake(), f"cancel {job_id}")


async def given_up_attempts(log: Log) -> dict[str, Mark]:
    """Return the attempts that operators gave up, by job. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.given_up(), Mark)


async def forget_given_up(log: Log, job_id: str) -> None:
    await command(log.redis, "HDEL", log.keys.given_up(), job_id)


async def note_abandoned(log: Log, prompt: Abandoned) -> None:
    """Remember a prompt before the event that abandons it is appended.

    Whoever dies in between leaves an entry for an attempt that still counts: see
    `abandoned_prompts`. Raises a leaf of Unavailable.
    """
    payload = msgspec.json.encode(prompt)
    await command(log.redis, "HSET", log.keys.abandoned(), prompt.prompt_id, payload)


async def abandoned_prompts(log: Log) -> dict[str, Abandoned]:
    """Return the prompts to be stopped, by prompt id. An entry whose job still has exactly that
    attempt alive is to be left alone. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.abandoned(), Abandoned)


async def forget_abandoned(log: Log, prompt_id: str) -> None:
    await command(log.redis, "HDEL", log.keys.abandoned(), prompt_id)


async def forget_old(log: Log) -> None:
    """Drop what is older than KEEP_S, and the oldest prompts beyond ABANDONED_LIMIT."""
    oldest_ms = await server_time_ms(log.redis) - int(KEEP_S * 1000)
    for name, entry in (await seen_backends(log)).items():
        if entry.seen_ms < oldest_ms:
            await command(log.redis, "HDEL", log.keys.backends(), name)
    prompts = sorted((await abandoned_prompts(log)).values(), key=lambda one: -one.since_ms)
    for number, prompt in enumerate(prompts):
        if number >= ABANDONED_LIMIT or prompt.since_ms < oldest_ms:
            await forget_abandoned(log, prompt.prompt_id)
