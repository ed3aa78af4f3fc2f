"""Runs one call of a Lua script again and again, each time with another thing wrong.

Rule: a call is repeated in exactly the state in which it was made first. With something wrong it
either does all that it did then, or changes nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import cast

import pytest
from msgspec import Struct
from redis import Redis

from everfold.streams.connections.connection import Argument
from everfold.streams.errors import (
    EverfoldError,
    ServerOutOfMemory,
    ServerRefusesAccess,
    TooFewReplicas,
    WrongKeyType,
)
from everfold.streams.redis.redis_errors import mapped_errors
from everfold.streams.redis.replicas import Replicas
from everfold.streams.redis.script import Script
from tests.support.servers import OwnServer, client

USER = "somebody"
HINTS = {"PUBLISH", "SPUBLISH", "INFO"}
"""Commands that a script does without."""

ARGUMENTS = 18
"""So many of a call's arguments are tried with other values."""

ODD = ("", "x", "-1", "9" * 16, f"{'9' * 30}-1")
"""Values that are no number, or no entry id, or nearly."""

_PER_JOB = re.compile(
    r":(head|partner_keys|job|workflow|dispatch|waiting|lines|line|order|running|reserved):.*"
)
"""What differs from job to job, or queue to queue, in keys that one pattern stands for."""

_DONE_WITHOUT = re.compile(r":(limits|paused|gone)$")
"""Keys that a script does without where another program has overwritten them."""

_KEY = re.compile(r"x:|\{x(:\d+(\.\d+)?)?\}:")
"""The beginning of a key of the namespace `x`, in either layout."""

FULL = "the server has no memory left"

_DUMP = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  -- A large hash that grew is put in order bit by bit, by each look into it: DUMP would show that.
  for _ = 1, redis.call('TYPE', key).ok == 'hash' and 128 or 0 do redis.call('HEXISTS', key, '') end
  table.insert(found, key)
  table.insert(found, redis.call('PEXPIRETIME', key))
  table.insert(found, redis.call('DUMP', key))
end
return found
"""
_RESTORE = """
redis.call('FLUSHALL', 'SYNC')
for i = 1, #ARGV, 3 do
  redis.call('RESTORE', ARGV[i], math.max(0, ARGV[i + 1]), ARGV[i + 2], 'ABSTTL')
end
"""

Words = tuple[str | bytes | int, ...]
Contents = dict[bytes, tuple[int, bytes]]
"""Key -> when it expires, Unix ms, and its value as DUMP writes it."""


class Call(Struct, frozen=True, kw_only=True):
    """One call of a script, and what the server held before it."""

    source: str
    keys: Sequence[str]
    arguments: Sequence[Argument]
    before: Contents


class Traced(Struct, frozen=True):
    """What a call does when nothing is wrong."""

    reply: object
    commands: tuple[tuple[str, tuple[str, ...]], ...]
    """Each command that the script sends, with the keys in it."""

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.commands}

    @property
    def keys(self) -> list[str]:
        return list(dict.fromkeys(key for _, keys in self.commands for key in keys))


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that is wrong."""

    what: str
    spoil: Sequence[Words] = ()
    """Commands of an administrator before the call."""
    rules: Sequence[str] = ()
    """ACL rules after those that allow everything."""
    arguments: Sequence[Argument] | None = None
    error: type[EverfoldError] = EverfoldError
    """What the error must be."""
    named: str = ""
    """What the error must name."""
    is_for_all: bool = False
    """What is wrong is not one job's own: a call without an error must have written nothing."""
    needs_all: bool = False
    """A call without an error must have done all."""


class Attempt(Struct, frozen=True):
    reply: object
    error: EverfoldError | None
    before: Contents
    after: Contents

    @property
    def changed(self) -> list[bytes]:
        keys = {*self.before, *self.after}
        return sorted(key for key in keys if self.before.get(key) != self.after.get(key))


@contextmanager
def recorded_calls(admin: Redis, source: str) -> Iterator[list[Call]]:
    """Record every call of the script with this source while the context is open."""
    calls: list[Call] = []
    run = Script.run_replicated

    async def recording(
        self: Script,
        redis: object,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        replicas: Replicas,
    ) -> tuple[list[object], TooFewReplicas | None]:
        if self.source == source:
            before = contents(admin)
            calls.append(Call(source=source, keys=keys, arguments=arguments, before=before))
        return await run(self, redis, keys, arguments, replicas)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Script, "run_replicated", recording)
        yield calls


def contents(admin: Redis) -> Contents:
    flat = iter(cast("list[object]", send(admin, "EVAL", _DUMP, 0)))
    return dict(zip(flat, zip(flat, flat, strict=True), strict=True))  # type: ignore[arg-type]


def send(redis: Redis, *words: Argument) -> object:
    return redis.execute_command(*words)  # type: ignore[no-untyped-call]


class FaultBench:
    """A server on which calls are repeated, by a user whose rights change."""

    def __init__(self, server: OwnServer) -> None:
        self.url = server.url
        self.admin = client(server.url)
        self._rules: Sequence[str] = ("-",)
        self._allow(())
        self._user = client(server.url)
        send(self._user, "AUTH", USER, "any")
        self._count = 0
        self._unchanged: tuple[Call, Contents] | None = None
        self.commands = _names(send(self.admin, "COMMAND LIST"))
        self._writes = _names(send(self.admin, "COMMAND LIST FILTERBY ACLCAT write"))

    def close(self) -> None:
        self._user.close()
        self.admin.close()

    def _allow(self, rules: Sequence[str]) -> None:
        if rules != self._rules:
            everything = ("reset", "on", "nopass", "~*", "&*", "+@all")
            send(self.admin, "ACL", "SETUSER", USER, *everything, *rules)
            self._rules = rules

    def traced(self, call: Call, fault: Fault | None = None) -> Traced:
        """Run the call and return what it did. Raises what it raises."""
        self._unchanged = None
        self._count += 1
        end = f"end-{self._count}"
        self._prepare(call, fault or Fault(what=""))
        with self.admin.monitor() as monitor:  # type: ignore[no-untyped-call]
            reply = self._run(call, fault or Fault(what=""))
            self.admin.echo(end)
            commands: list[tuple[str, tuple[str, ...]]] = []
            while not (line := monitor.next_command())["command"].endswith(end):
                if line["client_type"] == "lua":
                    commands.append(_named(line["command"].split()))
        return Traced(reply, tuple(commands))

    def attempt(self, call: Call, fault: Fault) -> Attempt:
        self._prepare(call, fault)
        before = self._unchanged[1] if self._unchanged else contents(self.admin)
        try:
            if fault.what == FULL:
                send(self.admin, "CONFIG", "SET", "maxmemory", 1)
            reply, error = self._run(call, fault), None
        except EverfoldError as refused:
            reply, error = None, refused
        finally:
            if fault.what == FULL:
                send(self.admin, "CONFIG", "SET", "maxmemory", 0)
        after = contents(self.admin)
        self._unchanged = (call, before) if before == after and not fault.spoil else None
        return Attempt(reply, error, before, after)

    def _prepare(self, call: Call, fault: Fault) -> None:
        self._allow(fault.rules)
        if self._unchanged and self._unchanged[0] is call and not fault.spoil:
            return
        self._unchanged = None
        flat = [value for key, row in call.before.items() for value in (key, *row)]
        send(self.admin, "EVAL", _RESTORE, 0, *flat)
        for words in fault.spoil:
            send(self.admin, *words)

    def _run(self, call: Call, fault: Fault) -> object:
        arguments = call.arguments if fault.arguments is None else fault.arguments
        words = (call.source, len(call.keys), *call.keys, *arguments)
        with mapped_errors():
            return send(self._user, "EVAL", *words)

    def complaint(self, call: Call, whole: Traced, fault: Fault) -> str | None:
        """Return what a call with this fault does wrong, None when it keeps the rule."""
        attempt = self.attempt(call, fault)
        if attempt.error is not None:
            said = str(attempt.error)
            if attempt.changed:
                return f"{fault.what}: {said!r} after it wrote {attempt.changed}"
            if not isinstance(attempt.error, fault.error):
                return f"{fault.what}: {attempt.error!r} is no {fault.error.__name__}"
            if fault.named and fault.named not in said:
                return f"{fault.what}: {said!r} does not name {fault.named}"
            return None
        if not attempt.changed:
            return None
        if fault.is_for_all:
            return f"{fault.what}: it wrote {attempt.changed} nevertheless"
        if not fault.needs_all:
            return None
        did = self.traced(call, fault)
        missing = self._written(whole) - self._written(did)
        return f"{fault.what}: it left out {sorted(missing)}" if missing else None

    def _written(self, traced: Traced) -> set[tuple[str, tuple[str, ...]]]:
        return {command for command in traced.commands if command[0] in self._writes}


def _named(words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    name = words[0].upper()
    if name in ("XGROUP", "XINFO"):
        name += " " + words[1].upper()
    if name in ("PUBLISH", "SPUBLISH"):
        return name, ()
    return name, tuple(word for word in words[1:] if _KEY.match(word))


def _names(reply: object) -> set[str]:
    names = cast("list[bytes]", reply)
    return {name.decode().upper().replace("|", " ") for name in names}


def faults(admin: Redis, call: Call, traced: Traced) -> Iterator[Fault]:
    """Yield everything that can be wrong with a call."""
    yield from _wrong_keys(call, traced)
    yield from _missing_rights(traced)
    yield from _wrong_arguments(call)
    yield from _wrong_values(admin, call)
    yield Fault(what=FULL, error=ServerOutOfMemory, needs_all=True)


def _wrong_keys(call: Call, traced: Traced) -> Iterator[Fault]:
    for key in traced.keys:
        if not key.endswith(":"):
            spoil: list[Words] = [("DEL", key), ("RPUSH", key, "x")]
            yield Fault(
                what=f"{key} is a list",
                spoil=spoil,
                error=WrongKeyType,
                is_for_all=not (_PER_JOB.search(key) or _DONE_WITHOUT.search(key)),
            )
            yield Fault(what=f"{key} is away", spoil=[("DEL", key)])
    there = [key for key in traced.keys if key.encode() in call.before]
    for key, other in pairwise([*there, *there[:1]]):
        yield Fault(what=f"{other} is now named {key}", spoil=[("RENAME", other, key)])


def _missing_rights(traced: Traced) -> Iterator[Fault]:
    for name in sorted(traced.names):
        right = "-" + name.lower().replace(" ", "|")
        named = "" if name in HINTS else name
        yield _unless_refused(f"no {name}", right, named=named)
    if {"PUBLISH", "SPUBLISH"} & traced.names:
        yield _unless_refused("no channel", "resetchannels")
    patterns = {key: _PER_JOB.sub(r":\1:*", key) for key in traced.keys}
    for pattern in dict.fromkeys(patterns.values()):
        others = sorted({f"~{other}" for other in patterns.values() if other != pattern})
        for how, granted in (
            ("out of reach", others),
            ("readable only", [*others, f"%R~{pattern}"]),
            ("writable only", [*others, f"%W~{pattern}"]),
        ):
            yield _unless_refused(f"{pattern} is {how}", "resetkeys", *granted)


def _unless_refused(what: str, *rules: str, named: str = "") -> Fault:
    return Fault(what=what, rules=rules, error=ServerRefusesAccess, named=named, needs_all=True)


def _wrong_arguments(call: Call) -> Iterator[Fault]:
    for number in range(min(len(call.arguments), ARGUMENTS)):
        for wrong in (*ODD, b"\x90"):
            arguments = [*call.arguments[:number], wrong, *call.arguments[number + 1 :]]
            what = f"ARGV[{number + 1}] is {wrong[:5]!r}"
            yield Fault(what=what, arguments=arguments)
        yield Fault(what=f"{number} arguments", arguments=call.arguments[:number])


def _wrong_values(admin: Redis, call: Call) -> Iterator[Fault]:
    """Yield each field of a hash with another value, and each group and entry that is odd."""
    # Of keys that are alike only the last: what comes before it is written by then.
    names = {_PER_JOB.sub(r":\1:*", name.decode()): name for name in call.before}
    for name in names.values():
        send(admin, "RESTORE", name, 0, call.before[name][1], "REPLACE")
        key, kind = name.decode(), cast("bytes", send(admin, "TYPE", name))
        if kind == b"hash":
            for field in cast("list[bytes]", send(admin, "HKEYS", name)):
                yield Fault(what=f"{key} lacks {field!r}", spoil=[("HDEL", key, field)])
                for wrong in ODD:
                    what = f"{key} has {field!r} = {wrong[:5]!r}"
                    yield Fault(what=what, spoil=[("HSET", key, field, wrong)])
        elif kind == b"stream":
            odd: Words = ("XADD", key, "*", "x", "1")
            yield Fault(what=f"{key} has an entry of somebody else", spoil=[odd])
            yield Fault(what=f"{key} has no entry", spoil=[("XTRIM", key, "MAXLEN", 0)])
            for row in cast("list[list[bytes]]", send(admin, "XINFO", "GROUPS", name)):
                gone: Words = ("XGROUP", "DESTROY", key, row[1])
                yield Fault(what=f"{key} has no group {row[1]!r}", spoil=[gone])
        elif kind == b"zset":
            for score in ("-inf", "0", "1e300"):
                added: Words = ("ZADD", key, score, "nobody")
                yield Fault(what=f"{key} has an unknown job at {score}", spoil=[added])
        elif kind == b"set":
            yield Fault(what=f"{key} has an odd name", spoil=[("SADD", key, "")])
