"""What a namespace knows of its backends: seen when, retired, given up, prompts left behind.

A name is an address as it was typed: one server may have two, and two hosts may use one loopback
address for two servers. Where both sides know the identity of the server, it decides.

Rule: everything read back may be anything; what cannot be decoded is left out, never raised.
Entries are bounded: `forget_old` drops what nobody has touched for KEEP_S.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.appending.log import Log
from everfold.streams.errors import BackendUnknown, InvalidName
from everfold.streams.events.event import ON_HOST
from everfold.streams.leases.acts import Verb, note_act
from everfold.streams.leases.registry import RunnerEntry
from everfold.streams.redis.hints import send_job_hint
from everfold.streams.redis.pages import Hashes, read_readable_hash
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms

KEEP_S = 7 * 86_400.0
"""How long an unseen backend and an abandoned prompt are remembered."""

SAME_TIME_S = 60.0
"""Of two servers with one name, one that was seen so much earlier was replaced by the other."""

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
    server: str = ""
    """Identity of the server that was found there, empty while it is not known."""
    host: str = ""
    """The host of that runner."""
    is_configured: bool = False
    """A runner was configured with it; False: only a job names it, and nobody contacts it."""
    title: str = ""
    """What people call it; empty: they call it by its address."""
    labels: tuple[str, ...] = ()
    slots: int = 0
    """Jobs that one runner gives to it, 0 while that is not known."""
    busy: int = 0
    """Prompts that run or wait there, whoever sent them."""
    object_info: str = ""
    """Content hash of what it has; empty while that is unknown, and then it may have all."""
    described: str = ""
    """Content hash of the whole description of that, in the server's words; empty for none."""

    @property
    def shown(self) -> str:
        """Return the backend for people: its name, if it has one, and its address."""
        return f"{self.title} {self.name}".strip()

    def is_of(self, name: str, server: str, host: str) -> bool:
        """Say whether this speaks of the server with this identity, or of this name if one of the
        two identities is not known. `host` is the asker's: a loopback address is its own."""
        if server.startswith(ON_HOST):
            return (self.name, self.host) == (name, server.removeprefix(ON_HOST))
        if server and self.server:
            return server == self.server
        if self.name != name:
            return False
        return self.host in ("", host) or not is_loopback(name)


class SeenBackends:
    """What the runners last saw of all backends, to be asked of one by one."""

    def __init__(self, entries: Iterable[BackendEntry]) -> None:
        self._by_name: dict[str, list[BackendEntry]] = {}
        self._by_server: dict[str, list[BackendEntry]] = {}
        for entry in entries:
            self._by_name.setdefault(entry.name, []).append(entry)
            if entry.server:
                self._by_server.setdefault(entry.server, []).append(entry)

    def of(self, name: str, server: str, host: str) -> list[BackendEntry]:
        """Return what speaks of one server, whatever address it is known by; see `is_of`."""
        others = (one for one in self._by_server.get(server, ()) if one.name != name)
        known = (*self._by_name.get(name, ()), *others)
        return [entry for entry in known if entry.is_of(name, server, host)]


class Mark(Struct, frozen=True, kw_only=True):
    """An operator's word: who, and when in Unix ms."""

    actor: str
    at_ms: int
    attempt: int = 0
    is_drain: bool = False
    """Of a backend: it takes no new jobs, and what waits there is left."""


class Abandoned(Struct, frozen=True, kw_only=True):
    """A prompt that was given up on a backend that could not be asked."""

    backend: str
    job_id: str
    attempt: int
    prompt_id: str
    client_id: str
    since_ms: int
    server: str = ""
    """Identity of the backend's server, empty where it has none."""


def is_loopback(name: str) -> bool:
    """Say whether a backend's address means another machine on each host."""
    try:
        host = urlsplit(name).hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "::1") or host.startswith("127.")


def bare(name: str) -> str:
    """Return a backend's address without user and password, as it is recorded."""
    scheme, separator, rest = name.rpartition("://")
    host, slash, path = rest.partition("/")
    return (scheme + separator + host.rpartition("@")[2] + slash + path).rstrip("/")


async def note_backends(
    log: Log, entries: list[BackendEntry], known: Iterable[BackendEntry] = ()
) -> None:
    """Write what this runner sees now, `known` being what is written. Raises a leaf of
    Unavailable."""
    if not entries:
        return
    rows = [part for e in entries for part in (_field(e), msgspec.json.encode(e))]
    await command(log.redis, "HSET", log.keys.backends(), *rows)
    # What was written before the identity was known.
    former = {_field(replace(entry, server="")) for entry in entries if entry.server}
    if left := former & {_field(entry) for entry in known}:
        await command(log.redis, "HDEL", log.keys.backends(), *sorted(left))


def _field(entry: BackendEntry) -> str:
    if entry.server:
        return f"{entry.name} {entry.server}"
    is_of_host = entry.host and is_loopback(entry.name)
    return f"{entry.name} {ON_HOST}{entry.host}" if is_of_host else entry.name


async def backend_entries(log: Log, among: Hashes | None = None) -> list[BackendEntry]:
    """Return what was last seen of each server at each address, in the order of the names.

    Raises a leaf of Unavailable.
    """
    found = await read_readable_hash(log.redis, log.keys.backends(), BackendEntry, among)
    return sorted(found.values(), key=lambda entry: (entry.name, entry.seen_ms))


async def backend_titles(log: Log) -> dict[str, str]:
    """Return what people call the server at each address; without those that have no name, and
    those where several servers have one address. Raises a leaf of Unavailable.
    """
    found: dict[str, set[str]] = {}
    for entry in await backend_entries(log):
        found.setdefault(entry.name, set()).add(entry.title)
    return {name: title for name, titles in found.items() for title in titles
            if title and len(titles) == 1}  # fmt: skip


def configured_names(
    runners: Iterable[RunnerEntry], entries: Iterable[BackendEntry]
) -> frozenset[str]:
    """Return the names of the backends that a runner is, or lately was, configured with."""
    named = {name for runner in runners for name in runner.backends}
    return frozenset(named | {entry.name for entry in entries if entry.is_configured})


async def retired_backends(log: Log, among: Hashes | None = None) -> dict[str, Mark]:
    """Return who retired which backend. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.retired(), Mark, among)


async def retire_backend(log: Log, name: str, *, is_drain: bool = False) -> None:
    """Take a backend out of service: it gets no new jobs, what waits there is taken back, and what
    it holds while nobody reaches it is lost. `name` is one of `mark_of`. Raises BackendUnknown,
    InvalidName, Unavailable. With `is_drain` it gets no new jobs, and that is all."""
    field = mark_of(await backend_entries(log), name)
    verb: Verb = "drain_backend" if is_drain else "retire_backend"
    await note_act(log, verb, bare(name), field if field != bare(name) else "")
    mark = Mark(actor=log.actor, at_ms=await server_time_ms(log.redis), is_drain=is_drain)
    await log.write("HSET", log.keys.retired(), field, msgspec.json.encode(mark))


async def return_backend(log: Log, name: str) -> bool:
    """Put a retired backend into service again; False when it was not retired.

    Raises BackendUnknown for one that no runner has seen and nobody has retired.
    """
    entries, retired = await backend_entries(log), await retired_backends(log)
    called = _called(entries, name)
    marks = {name, bare(name)} | {part for one in called for part in (one.name, one.server) if part}
    if not called and not marks & retired.keys():
        mark_of(entries, name)
    await note_act(log, "return_backend", name)
    return await log.write("HDEL", log.keys.retired(), *marks) != 0


def mark_of(entries: Iterable[BackendEntry], name: str) -> str:
    """Return under which name a backend is marked: an address, or the identity of a server.

    `name` is one of these, or what people call the backend: of it, and of a host and port, the
    identity counts, so that no other server at the address is meant. Raises BackendUnknown, or
    InvalidName where several servers have the name.
    """
    entries = list(entries)
    known = {entry.name for entry in entries} | {entry.server for entry in entries}
    for mark in (name, bare(name)):
        if mark and mark in known:
            return mark
    called = _called(entries, name)
    newest_ms = max((entry.seen_ms for entry in called), default=0)
    marks = {
        entry.server or entry.name
        for entry in called
        if entry.seen_ms > newest_ms - SAME_TIME_S * 1000
    }
    if len(marks) > 1:
        rule = f"several servers have this name; use one of {', '.join(sorted(marks))}"
        raise InvalidName("backend", name, rule)
    if not marks:
        raise BackendUnknown(name, tuple(sorted({entry.title or entry.name for entry in entries})))
    return marks.pop()


def _called(entries: Iterable[BackendEntry], name: str) -> list[BackendEntry]:
    """Return the entries of a backend that people call so, or by host and port."""
    return [one for one in entries if name and name in (one.title, one.name.partition("://")[2])]


async def give_up_attempt(log: Log, job_id: str, attempt: int) -> None:
    """Have a job's present attempt given up by its runner, whatever its backend says.

    Raises InvalidName for a job without an attempt, Unavailable.
    """
    if attempt < 1:
        raise InvalidName("job", job_id, "it has no attempt that could be given up")
    await note_act(log, "give_up", job_id, f"attempt {attempt}")
    at_ms = await server_time_ms(log.redis)
    mark = msgspec.json.encode(Mark(actor=log.actor, at_ms=at_ms, attempt=attempt))
    await command(log.redis, "HSET", log.keys.given_up(), job_id, mark)
    await send_job_hint(log, "cancel", job_id)


async def given_up_attempts(log: Log, among: Hashes | None = None) -> dict[str, Mark]:
    """Return the attempts that operators gave up, by job. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.given_up(), Mark, among)


async def forget_given_up(log: Log, job_id: str) -> None:
    await command(log.redis, "HDEL", log.keys.given_up(), job_id)


async def note_abandoned(log: Log, prompt: Abandoned) -> None:
    """Remember a prompt before the event that abandons it is appended.

    Whoever dies in between leaves an entry for an attempt that still counts: see
    `abandoned_prompts`. Raises a leaf of Unavailable.
    """
    payload = msgspec.json.encode(prompt)
    await command(log.redis, "HSET", log.keys.abandoned(), prompt.prompt_id, payload)


async def abandoned_prompts(log: Log, among: Hashes | None = None) -> dict[str, Abandoned]:
    """Return the prompts to be stopped, by prompt id. An entry whose job still has exactly that
    attempt alive is to be left alone. Raises a leaf of Unavailable."""
    return await read_readable_hash(log.redis, log.keys.abandoned(), Abandoned, among)


async def forget_abandoned(log: Log, prompt_id: str) -> None:
    await command(log.redis, "HDEL", log.keys.abandoned(), prompt_id)


async def forget_old(log: Log) -> None:
    """Drop what is older than KEEP_S, and the oldest prompts beyond ABANDONED_LIMIT."""
    oldest_ms = await server_time_ms(log.redis) - int(KEEP_S * 1000)
    for entry in await backend_entries(log):
        if entry.seen_ms < oldest_ms:
            await command(log.redis, "HDEL", log.keys.backends(), _field(entry))
    for job, mark in (await given_up_attempts(log)).items():
        if mark.at_ms < oldest_ms:
            await forget_given_up(log, job)
    prompts = sorted((await abandoned_prompts(log)).values(), key=lambda one: -one.since_ms)
    for number, prompt in enumerate(prompts):
        if number >= ABANDONED_LIMIT or prompt.since_ms < oldest_ms:
            await forget_abandoned(log, prompt.prompt_id)
