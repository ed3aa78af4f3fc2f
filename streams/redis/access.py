"""The rights that each kind of process needs on the server, and the check that it has them.

Rule: this is the one table of commands; tests compare it with what the processes send. What is
optional is done without, and what it would have shown is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from msgspec import Struct
from msgspec.structs import replace
from redis.asyncio import Redis

from everfold.streams.border.logger import get_logger
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import AccessMissing, ServerError, ServerRefusesAccess
from everfold.streams.events.checks import check_choice
from everfold.streams.redis.replicas import Replicas
from everfold.streams.redis.script import Script

logger = get_logger("everfold.access")

Role = Literal[
    "client",
    "operator",
    "reader",
    "runner",
    "projector",
    "consumer",
    "gateway",
    "auditor",
    "archiver",
]

_check_access = Script("everfold.streams", "check_access", is_read_only=True)

CONNECTED = ("eval_ro", "evalsha_ro", "hgetall", "hget", "hmget", "time")
"""What every process sends."""

FINDING = ("asking", "cluster|info", "cluster|slots", "role", "wait")
"""What finds the primary in a cluster or a Sentinel service, and waits for its replicas. One server
is asked for its role only, by who waits for news and hears none."""

NO_WAIT = "a primary that is cut off from its replicas may let a prompt run a second time"

_PASSED_OVER = "after a failover to a server whose clock is behind, readers may pass over events"

WITHOUT = {
    "client|setname": "another runner knows this process's death by the end of its leases only",
    "client|list": "the death of a runner is seen by the end of its leases only",
    "command|info": "the server's version is not checked",
    "info": "a restart that lost writes, eviction and persistence are not seen",
    "zmscore": "verify asks for each place of a job by itself",
    "strlen": "a claim brings no graph, and its runner asks for each",
    "xinfo|stream": _PASSED_OVER,
    "xsetid": _PASSED_OVER,
}
"""Optional command -> what is not seen without it."""

_READER = (
    *(*CONNECTED, "exists", "get", "hexists", "hscan", "hstrlen", "scard", "smembers", "type"),
    *("xrange", "xread", "xrevrange", "zcard", "zcount", "zlexcount", "zrange", "zrangebylex"),
    *("zrangebyscore", "zrevrangebylex", "zrevrangebyscore", "zscore"),
)
"""What reads jobs and all that is known of them."""

_CLIENT = (
    *(*_READER, "eval", "evalsha", "hdel", "hincrby", "hset", "hsetnx", "pexpire", "publish"),
    *("sadd", "set", "srem", "xack", "xadd", "xdel", "zadd", "zrem"),
)

COMMANDS: dict[Role, tuple[str, ...]] = {
    "reader": _READER,
    "client": _CLIENT,
    "operator": (*_CLIENT, "hlen", "unlink"),
    "gateway": (*_CLIENT, "hkeys", "hlen", "strlen", "zremrangebyscore"),
    "runner": (
        *(*_CLIENT, "copy", "srandmember", "subscribe", "xclaim", "xgroup|create"),
        *("xlen", "xpending", "zremrangebyscore"),
    ),
    "projector": (
        *(*CONNECTED, "del", "eval", "evalsha", "exists", "get", "hdel", "hexists", "hincrby"),
        *("hscan", "hset", "hsetnx", "hstrlen", "pexpire", "pexpireat", "rename", "type"),
        *("unlink", "xgroup|create", "xgroup|delconsumer", "xgroup|setid", "xinfo|consumers"),
        *("xinfo|groups", "xlen", "xpending", "xrange", "xread", "xtrim", "zadd"),
        *("zcard", "zrange", "zrangebyscore", "zrem", "zremrangebyscore", "zscan", "zscore"),
    ),
    "consumer": (
        *(*_READER, "eval", "evalsha", "hdel", "hincrby", "hset", "hsetnx", "xack", "xautoclaim"),
        *("xgroup|create", "xgroup|delconsumer", "xinfo|consumers", "xpending", "xreadgroup"),
        *("zadd", "zrem", "zremrangebyscore"),
    ),
    "archiver": (
        *(*CONNECTED, "del", "eval", "evalsha", "exists", "get", "hdel", "hincrby", "hscan"),
        *(
            "hset",
            "hsetnx",
            "pexpire",
            "smembers",
            "type",
            "xinfo|groups",
            "xlen",
            "xpending",
            "xrange",
            "xrevrange",
        ),
        *("xtrim", "zrange", "zrem"),
    ),
    "auditor": (*_READER, "hkeys", "xinfo|groups", "xlen", "xpending", "zscan"),
}
"""Role -> the commands that it cannot do without; `parent|part` is a command of two words."""

SENDS, HEARS = {"client", "operator", "gateway", "runner"}, {"runner"}

OPTIONAL: dict[Role, tuple[str, ...]] = {
    role: ("client|setname", "command|info", "info")
    + (("xinfo|stream", "xsetid") if role in SENDS else ())
    + (("client|list",) if role in ("runner", "auditor") else ())
    + (("strlen",) if role == "runner" else ())
    + (("zmscore",) if role == "auditor" else ())
    for role in COMMANDS
}

SHARDED = {"publish": "spublish", "subscribe": "ssubscribe"}
"""Command -> the one that takes its place in the spread layout."""

SPREAD_COMMANDS: dict[Role, tuple[str, ...]] = {
    "client": ("zremrangebyscore",),
    "operator": ("zremrangebyscore",),
    "runner": ("del",),
}
"""What reserves and copies limits there, see streams/layout."""

KEYLESS = {"time", "info", *SHARDED, *SHARDED.values()}
"""Commands that name no key, besides those of CLIENT and COMMAND."""

_CLIENT_KEYS = (
    *("meta", "audit", "order:*", "processes", "running:*", "user_keys", "rewound", "servers"),
)
_OPERATOR_KEYS = (
    *(*_CLIENT_KEYS, "abandoned", "drains", "given_up", "hidden:*", "limits", "paused"),
    "retired",
)

WRITTEN: dict[Role, tuple[str, ...]] = {
    "client": _CLIENT_KEYS,
    "operator": (*_OPERATOR_KEYS, "erasures", "gateway_key_uses", "gateway_keys"),
    "gateway": (*_OPERATOR_KEYS, "gateway_key_uses", "gateway_session:*", "listening"),
    "runner": (
        *("meta", "order:*", "running:*", "abandoned", "asset_sweep:*", "audit", "backends"),
        *(
            "drains",
            "given_up",
            "limits",
            "node_costs",
            "object_info:*",
            "rewound",
            "runners",
            "servers",
        ),
    ),
    "projector": ("meta", "processes", "projectors:*", "retention", "run_times"),
    "consumer": ("meta", "processes", "projectors:*", "subscriptions"),
    "archiver": ("meta", "retention"),
}
"""Role -> the keys without a hash tag that it writes; it reads all of these. A role that is not
here writes nothing. Within a partition the commands decide: patterns there would be tried for each
key of each script, and cost more than the scripts do."""


class Access(Struct, frozen=True):
    """What one role needs in one namespace."""

    role: Role
    namespace: str
    is_spread: bool = False
    """Whether it is on a cluster; see keys.py."""

    @property
    def root(self) -> str:
        return f"{{{self.namespace}}}" if self.is_spread else self.namespace

    @property
    def keys(self) -> tuple[str, ...]:
        """Rules for keys: `~` to read and write, `%R~` to read. What is used most comes first.

        Who does not send jobs to servers does not see the keys of partner nodes either.
        """
        reach, tag = "~" if self.role in WRITTEN else "%R~", f"{{{self.namespace}:*"
        parts: tuple[str, ...] = (tag,)
        if self.role not in SENDS:
            parts = (f"{tag}}}:[^p]*", f"{tag}}}:p[^a]*", f"{tag}}}:parked")
        return (
            *(f"{reach}{part}" for part in parts),
            *(f"~{self.root}:{kind}" for kind in self._written),
            f"%R~{self.root}:*",
        )

    @property
    def _written(self) -> tuple[str, ...]:
        written = WRITTEN.get(self.role, ())
        return (*written, "reserved:*") if self.is_spread and self.role in SENDS else written

    @property
    def channels(self) -> tuple[str, ...]:
        """In the spread layout each partition has its channel, of those who send and hear."""
        if self.role not in SENDS | HEARS:
            return ()
        channel = f"{self.root}:wake"
        return (channel, f"{{{self.namespace}:*") if self.is_spread else (channel,)

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that the role cannot do without, see COMMANDS. In the spread layout its
        hints go to the node of their channel, and limits take a few commands more."""
        asked = COMMANDS[self.role]
        if not self.is_spread:
            return asked
        more = SPREAD_COMMANDS.get(self.role, ())
        return tuple(dict.fromkeys((*(SHARDED.get(name, name) for name in asked), *more)))

    def rules(self) -> str:
        """Return the rules of ACL SETUSER, without a password."""
        commands = sorted({*self.commands, *OPTIONAL[self.role], *FINDING, "select"})
        return " ".join(
            (
                "resetkeys resetchannels -@all",
                *self.keys,
                *(f"&{channel}" for channel in self.channels),
                *(f"+{name}" for name in commands),
            )
        )

    def line(self) -> str:
        """Return the whole command for redis-cli; `PASSWORD` is to be replaced."""
        quoted = " ".join(f"'{word}'" if set(word) & set("~&|%") else word for word in self._words)
        return f"ACL SETUSER everfold-{self.role} reset on {quoted}"

    def file_line(self) -> str:
        """Return the line of an aclfile; `PASSWORD` is to be replaced."""
        return f"user everfold-{self.role} reset on {' '.join(self._words)}"

    @property
    def _words(self) -> list[str]:
        return [">PASSWORD", *self.rules().split()]


async def may_send(redis: Redis, *words: Argument) -> bool:
    """Say whether the server's user may send a command: a refusal would be noted by the server.

    Raises a leaf of Unavailable.
    """
    try:
        return len(await _check_access.run(redis, (), (len(words), *words))) == 1
    except (ServerRefusesAccess, ServerError):
        return False


async def checked_wait(redis: LedgerRedis, replicas: Replicas) -> Replicas:
    """Return what can be waited for: where nobody has asked for it, nothing without the right.

    Raises ServerRefusesAccess where the server would not wait for the replicas asked for.
    """
    is_unasked = replicas.intents and redis.knows_replicas
    if not (replicas.count or is_unasked) or await may_send(redis, "WAIT", 1, 1):
        return replicas
    if replicas.count:
        raise ServerRefusesAccess(
            "the server's user may not send WAIT, or the server does not have it: give it that "
            "right, or ask for no replicas (EVERFOLD_REPLICAS=0)"
        )
    logger.warning("access_missing command=%s not_seen=%r", "WAIT", NO_WAIT)
    return replace(replicas, intents=False)


async def check_access(redis: Redis, access: Access) -> None:
    """Raise AccessMissing, which names every right that is missing, before anything is done.

    What is optional and missing is logged once. Raises a leaf of Unavailable, or
    ServerRefusesAccess when the user may not even ask.
    """
    check_choice("role", access.role, tuple(COMMANDS))
    commands = [*access.commands, *OPTIONAL[access.role]]
    asked = [(name, _words(access, name)) for name in commands]
    asked += [(f"keys {rule}", _words_of(access, rule)) for rule in access.keys]
    arguments: list[Argument] = []
    for _, words in asked:
        arguments += (len(words), *words)
    reply = await _check_access.run(redis, (), arguments)
    refused = {asked[abs(number) - 1][0]: number for number in cast("list[int]", reply[1:])}
    unseen = [name for name in OPTIONAL[access.role] if refused.pop(name, None)]
    if refused:
        raise AccessMissing(access.role, _missing(access, refused))
    for name in unseen:
        logger.warning("access_missing command=%s not_seen=%r", _shown(name), WITHOUT[name])


def _missing(access: Access, refused: Mapping[str, int]) -> list[str]:
    """Return what is missing, as people are told, from the names of what was refused."""
    keyed = {name for name in access.commands if name not in KEYLESS}
    if keyed <= set(refused):  # there is not one key on which it may send anything
        refused = {name: number for name, number in refused.items() if name not in keyed}
    elif callers := {"evalsha", "evalsha_ro"} & set(refused):
        said = {f"keys {rule}" for rule in access.keys if _caller(rule) in callers}
        refused = {name: number for name, number in refused.items() if name not in said}
    return [_named(access, name, number > 0) for name, number in refused.items()]


def _words(access: Access, name: str) -> list[str]:
    """Return a command as it would be sent."""
    words, key = name.upper().split("|"), f"{{{access.namespace}:0}}:head:probe"
    if name in SHARDED or name in SHARDED.values():
        channels = [channel.replace("*", "0") for channel in access.channels]
        return [*words, *(channels if name.endswith("subscribe") else channels[-1:])]
    if name in KEYLESS or words[0] in ("CLIENT", "COMMAND"):
        return words
    if words[0] in ("EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"):
        return [*words, "x", "1", key]
    if words[0] in ("XREAD", "XREADGROUP"):
        group = ["GROUP", "g", "c"] if words[0] == "XREADGROUP" else []
        return [*words, *group, "STREAMS", key, "0"]
    if name in ("del", "unlink", "exists"):
        return [*words, key]
    if name in ("copy", "rename"):
        return [*words, key, key]
    return [*words, key, "x", "x"]


def _words_of(access: Access, rule: str) -> list[str]:
    """Return a script's call on a key of a rule: it needs the whole reach of the rule."""
    key = rule.partition("~")[2].replace("[^p]", "head:").replace("[^a]", "r").replace("*", "0")
    return [_caller(rule).upper(), "x", "1", key]


def _caller(rule: str) -> str:
    return "evalsha_ro" if rule.startswith("%R") else "evalsha"


def _shown(name: str) -> str:
    return name.upper().replace("|", " ")


def _named(access: Access, name: str, is_known: bool) -> str:
    if name.startswith("keys "):
        return name
    if not is_known:
        return f"command {_shown(name)} (the server does not have it)"
    is_hint = name in SHARDED or name in SHARDED.values()
    channel = f" on channel {access.channels[0]}" if is_hint else ""
    return f"command {_shown(name)}{channel}"
