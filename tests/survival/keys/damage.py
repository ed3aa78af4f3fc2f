"""Every way in which another program can damage a key, by the key's type."""

from __future__ import annotations

import contextlib

from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.connections.connection import Argument
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.redis_errors import command

VALUES: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "word": b"x",
    "superscript": "²".encode(),
    "huge": b"9" * 400,
    "twenty digits": b"9" * 20,
    "negative": b"-1",
    "float": b"1.5",
    "exponent": b"1e308",
    "no json": b"{",
    "other json": b'{"a": 1}',
    "list": b"[]",
    "null": b"null",
    "deep": b"[" * 500 + b"]" * 500,
    "bytes": b"\xff\x1b[2J\n",
    "megabyte": b"x" * 1_000_000,
}

SCORES = ("-inf", "+inf", "1e308", "-1", "0", "1.5")
NAMES = (b"\xff\x1b[2J\n", b"", b"y" * 100_000, b"../x y")

ENTRIES: tuple[tuple[Argument, ...], ...] = (
    (b"\xff", b"x"),
    (b"j", b""),
    (b"j", b"\xff"),
    (b"j", b"x" * 100_000),
    (b"j", b"stranger"),
    (b"j", b"stranger", b"s", b"2", b"e", b"1", b"p", b"0-0", b"d", b'{"type":"job.started"}'),
    (b"j", b"stranger", b"s", b"9" * 30, b"e", b"1", b"p", b"\xff", b"d", b"{}"),
    (b"j", b"stranger", b"s", b"-1", b"e", "²".encode(), b"p", b"x", b"d", b"[" * 500),
    (b"j", b"stranger", b"s", b"1.5", b"e", b"1", b"p", b"0-0", b"d", b"x" * 1_000_000),
    (b"j", b"stranger", b"s", b"1", b"e", b"0", b"p", b"0-0", b"d", b"null"),
)


class Damage(Struct, frozen=True):
    """One damage: commands without their key, which comes second."""

    name: str
    lines: tuple[tuple[Argument, ...], ...]

    async def write(self, redis: Redis, key: str) -> None:
        for name, *rest in self.lines:
            with contextlib.suppress(EverfoldError):  # as HDEL of what is not there
                await command(redis, name, key, *rest)


DELETED = Damage("deleted", (("DEL",),))


def another_type(kind: str) -> Damage:
    """Return the damage that leaves a key of another type."""
    return Damage("another type", (("DEL",), ("LPUSH" if kind == "string" else "SET", "x")))


def field_damages(field: str) -> list[Damage]:
    """Return the damages of one field of a hash that is one record."""
    return [
        Damage(f"{field} {name}", (("HDEL", field) if value is None else ("HSET", field, value),))
        for name, value in VALUES.items()
    ]


def strange_records(kind: str) -> Damage:
    """Return all strange records that one key can hold at once, beside its own ones."""
    lines = list[tuple[Argument, ...]]()
    if kind == "hash":
        lines += [("HSET", f"stranger {name}", text) for name, text in VALUES.items() if text]
        lines += [("HSET", name, b"{}") for name in NAMES]
    elif kind == "zset":
        lines += [("ZADD", score, f"stranger {score}") for score in SCORES]
        lines += [("ZADD", 1, name) for name in NAMES]
    elif kind == "set":
        lines += [("SADD", name) for name in NAMES]
    else:
        lines += [("XADD", "*", *entry) for entry in ENTRIES]
        lines += [("XGROUP CREATE", "stranger \xff", "$"), ("XGROUP CREATE", "stranger", "0")]
    return Damage("strange records", tuple(lines))
