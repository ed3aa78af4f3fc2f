"""The rights that each kind of process needs on the server, and the check that it has them.

Rule: this is the one table of commands; tests compare it with what the processes send. What is
optional is done without, and what it would have shown is said.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, cast

from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.border.logger import get_logger
from everfold.streams.errors import AccessMissing
from everfold.streams.events.checks import check_choice
from everfold.streams.redis.connection import Argument
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.scripts import Script

logger = get_logger("everfold.access")

Role = Literal[
    "client", "reader", "runner", "projector", "consumer", "gateway", "auditor", "archiver"
]

_check_access = Script("everfold.streams", "check_access", is_read_only=True)

CONNECTED = ("eval_ro", "evalsha_ro", "hgetall", "hget", "hmget", "time")
"""What every process sends."""

WITHOUT = {
    "client|setname": "another runner knows this process's death by the end of its leases only",
    "client|list": "the death of a runner is seen by the end of its leases only",
    "command|info": "the server's version is not checked",
    "info": "a restart that lost writes, eviction and persistence are not seen",
}
"""Optional command -> what is not seen without it."""

_READER = (
    *(*CONNECTED, "get", "hscan", "hstrlen", "xrange", "xrevrange", "xread", "zrevrangebyscore"),
    *("zscore", "zcard", "zrange", "zcount", "zrangebyscore", "zrangebylex", "zrevrangebylex"),
    *("zlexcount", "smembers", "scard", "type", "hexists"),
)

_WRITER = ("eval", "evalsha", "hset", "xadd", "zadd", "hincrby", "hdel", "publish")

_CONSUMER = (
    *(*_READER, "eval", "evalsha", "hset", "hsetnx", "hdel", "hincrby", "xreadgroup"),
    *("xgroup|create", "xgroup|delconsumer", "xautoclaim", "xack", "xpending", "xinfo|consumers"),
    *("zadd", "zrem", "zremrangebyscore"),
)

_PLACES = ("sadd", "srem", "srandmember", "zrem", "zrange", "zremrangebyscore")
"""What moves jobs from and to those that wait, or run."""

_CLIENT = (*_READER, *_WRITER, *_PLACES, "set", "xdel", "xack", "pexpire")

COMMANDS: dict[Role, tuple[str, ...]] = {
    "reader": _READER,
    "client": _CLIENT,
    "gateway": _CLIENT,
    "runner": (
        *(*_READER, *_WRITER, *_PLACES, "hsetnx", "xack", "xdel", "xgroup|create", "xclaim"),
        *("xpending", "zrangebyscore", "pexpire", "subscribe", "set", "copy"),
        *("exists", "xlen"),
    ),
    "projector": (
        *(
            *CONNECTED,
            "eval",
            "evalsha",
            "type",
            "hset",
            "hdel",
            "hscan",
            "hstrlen",
            "xreadgroup",
            "xgroup|create",
        ),
        *("xgroup|setid", "xgroup|delconsumer", "xautoclaim", "xack", "xpending", "xinfo|groups"),
        *("xinfo|consumers", "zadd", "zrem", "zcard", "zrange", "zremrangebyscore"),
        *("pexpireat", "del", "unlink", "xrange", "exists"),
    ),
    "consumer": _CONSUMER,
    "archiver": (
        *(
            *CONNECTED,
            "eval",
            "evalsha",
            "type",
            "hset",
            "hscan",
            "hincrby",
            "hdel",
            "get",
            "xrange",
        ),
        *("xrevrange", "xlen", "xpending", "xinfo|groups", "xtrim", "smembers", "zrange", "del"),
        *("exists",),
    ),
    "auditor": (
        *(*_READER, "xlen", "zscan", "exists", "xpending"),
        *("xinfo|groups",),
    ),
}
"""Role -> the commands that it cannot do without; `parent|part` is a command of two words."""

OPTIONAL: dict[Role, tuple[str, ...]] = {
    role: ("client|setname", "command|info", "info")
    + (("client|list",) if role in ("runner", "auditor") else ())
    for role in COMMANDS
}

KEYLESS = {"time", "publish", "subscribe", "info"}
"""Commands that name no key, besides those of CLIENT and COMMAND."""

WRITES = {"client", "gateway", "runner", "projector", "consumer", "archiver"}
SENDS, HEARS = {"client", "gateway", "runner"}, {"runner"}


class Access(Struct, frozen=True):
    """What one role needs in one namespace."""

    role: Role
    namespace: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Patterns of keys: those of the namespace, and those of its partitions."""
        return (f"{self.namespace}:*", f"{{{self.namespace}:*")

    @property
    def channels(self) -> tuple[str, ...]:
        has_channel = self.role in SENDS | HEARS
        return (Keyspace(self.namespace, 1).wake(),) if has_channel else ()

    def rules(self) -> str:
        """Return the rules of ACL SETUSER, without a password."""
        reach = "~" if self.role in WRITES else "%R~"
        commands = sorted({*COMMANDS[self.role], *OPTIONAL[self.role], "select"})
        return " ".join(
            (
                "resetkeys resetchannels -@all",
                *(f"{reach}{pattern}" for pattern in self.keys),
                *(f"&{channel}" for channel in self.channels),
                *(f"+{name}" for name in commands),
            )
        )

    def line(self) -> str:
        """Return the whole command for redis-cli; `PASSWORD` is to be replaced."""
        quoted = " ".join(f"'{word}'" if set(word) & set("~&|%") else word for word in self._words)
        return f"ACL SETUSER everfold-{self.role} reset on {quoted}"

    @property
    def _words(self) -> list[str]:
        return [">PASSWORD", *self.rules().split()]


async def check_access(redis: Redis, access: Access) -> None:
    """Raise AccessMissing, which names every right that is missing, before anything is done.

    What is optional and missing is logged once. Raises a leaf of Unavailable, or
    ServerRefusesAccess when the user may not even ask.
    """
    check_choice("role", access.role, tuple(COMMANDS))
    asked = [*_asked(access, COMMANDS[access.role]), *_asked(access, OPTIONAL[access.role])]
    arguments: list[Argument] = []
    for _, words in asked:
        arguments += (len(words), *words)
    reply = await _check_access.run(redis, (), arguments)
    numbers = cast("list[int]", reply[1:])
    refused = {abs(number) - 1 for number in numbers}
    missing = [f"keys {pattern}" for pattern in access.keys if _is_closed(pattern, asked, refused)]
    closed = {f"{name.removeprefix('keys ').removesuffix('*')}probe" for name in missing}
    unseen: dict[str, None] = {}
    for number in numbers:
        name, words = asked[abs(number) - 1]
        if name in OPTIONAL[access.role]:
            unseen[name] = None
        elif not closed & set(words) and (said := _named(name, words, number > 0)) not in missing:
            missing.append(said)
    if missing:
        raise AccessMissing(access.role, missing)
    for name in unseen:
        logger.warning("access_missing command=%s not_seen=%r", _shown(name), WITHOUT[name])


def _is_closed(
    pattern: str, asked: Sequence[tuple[str, list[str]]], refused: Collection[int]
) -> bool:
    """Say whether every command is refused for the keys of a pattern."""
    sample = pattern.removesuffix("*") + "probe"
    return all(i in refused for i, (_, words) in enumerate(asked) if sample in words)


def _asked(access: Access, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return commands as they would be sent, each with its name in the table."""
    samples = [pattern.removesuffix("*") + "probe" for pattern in access.keys]
    asked: list[tuple[str, list[str]]] = []
    for name in names:
        words = name.upper().split("|")
        if name in ("publish", "subscribe"):
            asked.append((name, [*words, *access.channels]))
        elif name in KEYLESS or words[0] in ("CLIENT", "COMMAND"):
            asked.append((name, words))
        elif words[0] in ("EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"):
            asked += [(name, [*words, "x", "1", key]) for key in samples]
        elif words[0] in ("XREAD", "XREADGROUP"):
            group = ["GROUP", "g", "c"] if words[0] == "XREADGROUP" else []
            asked += [(name, [*words, *group, "STREAMS", key, "0"]) for key in samples]
        elif name in ("del", "unlink", "exists"):
            asked += [(name, [*words, key]) for key in samples]
        elif name == "copy":
            asked += [(name, [*words, key, key]) for key in samples]
        else:
            asked += [(name, [*words, key, "x", "x"]) for key in samples]
    return asked


def _shown(name: str) -> str:
    return name.upper().replace("|", " ")


def _named(name: str, words: Sequence[str], is_known: bool) -> str:
    if not is_known:
        return f"command {_shown(name)} (the server does not have it)"
    channel = f" on channel {words[-1]}" if name in ("publish", "subscribe") else ""
    return f"command {_shown(name)}{channel}"
