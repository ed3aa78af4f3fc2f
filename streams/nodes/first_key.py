"""The first key of a command, by which a cluster's node is found.

Rule: pure. A command is here with its shape, is listed as one without a key, or has its key as
first argument and is listed for that; anything else raises, for it might go to a wrong node.
"""

from __future__ import annotations

from collections.abc import Sequence

Argument = str | bytes | int

_FIRST_TEXT = """
APPEND COPY DECR DECRBY DEL DUMP EXISTS EXPIRE EXPIREAT EXPIRETIME GET GETDEL GETEX GETRANGE
GETSET HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HRANDFIELD HSCAN
HSET HSETNX HSTRLEN HVALS INCR INCRBY LINDEX LLEN LPOP LPUSH LRANGE LREM LSET LTRIM MGET MSET
PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PTTL RENAME RENAMENX RESTORE RPOP RPUSH SADD SCARD SDIFF
SET SETEX SETNX SETRANGE SINTER SISMEMBER SMEMBERS SMISMEMBER SPOP SPUBLISH SRANDMEMBER SREM
SSCAN SSUBSCRIBE STRLEN SUNION SUNSUBSCRIBE TOUCH TTL TYPE UNLINK WATCH XACK XADD XAUTOCLAIM
XCLAIM XDEL XLEN XPENDING XRANGE XREVRANGE XSETID XTRIM ZADD ZCARD ZCOUNT ZINCRBY ZLEXCOUNT
ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM
ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE
ZREVRANK ZSCAN ZSCORE
"""
_FIRST = frozenset(_FIRST_TEXT.split())
"""Their first argument is a key."""

_SECOND = frozenset(("DEBUG OBJECT", "MEMORY USAGE"))
"""Commands of two words that have a key, besides those in _TWO_WORDS."""

_TWO_WORDS = frozenset(("OBJECT", "XGROUP", "XINFO"))
"""Each of their parts has a key behind it."""

_SCRIPTS = frozenset(("EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"))
_STREAMS = frozenset(("XREAD", "XREADGROUP"))

_KEYLESS_TEXT = """
ACL ASKING BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND CONFIG DBSIZE DEBUG ECHO FAILOVER FLUSHALL
FLUSHDB FUNCTION HELLO INFO LASTSAVE LATENCY MEMORY MODULE MULTI EXEC PING PUBLISH PUBSUB
READONLY REPLICAOF ROLE SAVE SCAN SCRIPT SHUTDOWN SLOWLOG SUBSCRIBE TIME UNSUBSCRIBE WAIT
WAITAOF
"""
_KEYLESS = frozenset(_KEYLESS_TEXT.split())
"""They go to whatever node they are sent to."""


class UnknownCommand(ValueError):
    """A command whose key nobody has said: write it into the table."""


def first_key(command: Sequence[Argument]) -> str | bytes | None:
    """Return the first key that a command names; None for one without. Raises UnknownCommand.

    Its name may be one word or two, in one text or in two.
    """
    words = _spread(command)
    name = _text(words[0]).upper()
    if name in _FIRST:
        return _key(words, 1)
    if name in _SCRIPTS:
        return _key(words, 3) if len(words) > 2 and int(words[2]) > 0 else None
    if name in _STREAMS:
        return _key(words, _behind_streams(words))
    if name in _TWO_WORDS or f"{name} {_text(words[1]).upper() if words[1:] else ''}" in _SECOND:
        return _key(words, 2)
    if name in _KEYLESS:
        return None
    raise UnknownCommand(f"it is not known which key {name!r} names")


def _spread(command: Sequence[Argument]) -> list[Argument]:
    name, *rest = command
    return [*(name.split() if isinstance(name, str) else (name,)), *rest]


def _behind_streams(words: Sequence[Argument]) -> int:
    """Return where the first key of XREAD stands: a group may be named STREAMS, too."""
    first = 4 if _text(words[0]).upper() == "XREADGROUP" else 1
    for index, word in enumerate(words[first:], first):
        if _text(word).upper() == "STREAMS":
            return index + 1
    return len(words)


def _key(words: Sequence[Argument], index: int) -> str | bytes | None:
    word = words[index] if index < len(words) else None
    return str(word) if isinstance(word, int) else word


def _text(word: Argument) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
