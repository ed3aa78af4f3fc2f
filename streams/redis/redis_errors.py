"""The one place where redis-py's exceptions become Everfold's errors.

Rule: after an `Unavailable` a write may have happened. It is repeated with the same event id, by
the caller, never by redis-py (its default retries would append twice).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar, cast

import msgspec
import redis.exceptions as theirs
from redis.asyncio import Redis

from everfold.streams.errors import (
    EverfoldError,
    NoServer,
    ServerError,
    ServerInCluster,
    ServerLoading,
    ServerOutOfMemory,
    ServerReadOnly,
    ServerRefusesAccess,
    ServerUnreachable,
    WrongKeyType,
)
from everfold.streams.redis.connection import Argument, says_replica
from everfold.streams.redis.pipelining import PipeliningRedis

T = TypeVar("T")


class NoScript(EverfoldError):
    """The server does not have a script yet. Internal: it is sent with its text then."""


class GroupExists(EverfoldError):
    """A consumer group is there already. Internal: its maker goes on."""


class NoGroup(EverfoldError):
    """A consumer group is gone, as after FLUSHALL. Internal: its reader makes it again."""


_BY_PREFIX: tuple[tuple[str, type[EverfoldError]], ...] = (
    ("OOM", ServerOutOfMemory),
    ("READONLY", ServerReadOnly),
    ("MISCONF", ServerReadOnly),
    ("NOREPLICAS", ServerReadOnly),
    ("MASTERDOWN", ServerReadOnly),
    ("LOADING", ServerLoading),
    ("BUSY ", ServerLoading),
    ("TRYAGAIN", ServerLoading),
    ("CLUSTERDOWN", ServerUnreachable),
    # Sent to a command that waits, when its server becomes a replica: another one is master.
    ("UNBLOCKED", ServerReadOnly),
    ("MOVED", ServerInCluster),
    ("ASK ", ServerInCluster),
    ("CROSSSLOT", ServerInCluster),
    ("WRONGTYPE", WrongKeyType),
    ("NOSCRIPT", NoScript),
    ("BUSYGROUP", GroupExists),
    ("NOGROUP", NoGroup),
    ("DB index is out of range", NoServer),
    ("NOAUTH", ServerRefusesAccess),
    ("WRONGPASS", ServerRefusesAccess),
    ("NOPERM", ServerRefusesAccess),
    # Without its code, and as a plain ConnectionError, while a connection is being set up.
    ("Authentication required", ServerRefusesAccess),
    ("invalid username-password pair", ServerRefusesAccess),
)

_BY_TYPE: tuple[tuple[type[Exception], type[EverfoldError]], ...] = (
    # redis-py takes the code away from the texts of these.
    (theirs.NoScriptError, NoScript),
    (theirs.AskError, ServerInCluster),
    (theirs.MovedError, ServerInCluster),
    (theirs.ClusterCrossSlotError, ServerInCluster),
    (theirs.ReadOnlyError, ServerReadOnly),
    (theirs.BusyLoadingError, ServerLoading),
    (theirs.OutOfMemoryError, ServerOutOfMemory),
    (theirs.MasterDownError, ServerReadOnly),
    (theirs.ClusterDownError, ServerUnreachable),
    (theirs.TryAgainError, ServerLoading),
    (theirs.AuthenticationError, ServerRefusesAccess),
    (theirs.AuthorizationError, ServerRefusesAccess),
    (theirs.NoPermissionError, ServerRefusesAccess),
    (theirs.ConnectionError, ServerUnreachable),
    (theirs.TimeoutError, ServerUnreachable),
)


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Raise a redis-py error as the leaf of Everfold's tree that it stands for.

    An answer that has no name here is a ServerError, so that no task ends by an unknown word.
    """
    try:
        yield
    except theirs.RedisError as error:
        raise _leaf(error)(f"Redis: {error}") from error
    except OSError as error:
        raise ServerUnreachable(f"Redis cannot be reached: {error}") from error


async def command(redis: Redis, *arguments: Argument) -> object:
    """Send one command; return the answer as the server sent it, texts as bytes.

    Raises a leaf of Unavailable or Misconfigured, WrongKeyType, NoGroup or GroupExists.
    """
    with mapped_errors():
        try:
            return cast("object", await redis.execute_command(*arguments))  # type: ignore[no-untyped-call]
        except theirs.ResponseError as error:
            if says_replica(error) and not isinstance(redis, PipeliningRedis):
                # Connect anew: behind the address there is another primary by now.
                await redis.connection_pool.disconnect()
            raise


async def commands(redis: PipeliningRedis, each: Iterable[Sequence[Argument]]) -> list[object]:
    """Send many commands at once; return their answers in the same order.

    Raises the first error as `command` does, but only when all of them are over.
    """
    with mapped_errors():
        return await redis.execute_all(each)


async def read_hash(redis: Redis, key: str) -> dict[bytes, bytes]:
    """Return a whole hash, empty when there is none. Raises as `command` does."""
    flat = cast("list[bytes]", await command(redis, "HGETALL", key))
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def read_readable_hash(redis: Redis, key: str, kind: type[T]) -> dict[str, T]:
    """Return a hash whose values are JSON of one type, empty when there is none.

    Entries that cannot be read are left out: somebody else wrote them. Raises as `command` does.
    """
    decode = msgspec.json.Decoder(kind).decode
    found: dict[str, T] = {}
    for name, text in (await read_hash(redis, key)).items():
        with suppress(ValueError, RecursionError):
            found[name.decode()] = decode(text)
    return found


async def read_string(redis: Redis, key: str) -> bytes | None:
    """Return a string, None when there is none. Raises as `command` does."""
    return cast("bytes | None", await command(redis, "GET", key))


def _leaf(error: theirs.RedisError) -> type[EverfoldError]:
    text = str(error).removeprefix("ERR ").removeprefix("-")
    for prefix, leaf in _BY_PREFIX:
        if text.startswith(prefix):
            return leaf
    for kind, leaf in _BY_TYPE:
        if isinstance(error, kind):
            return leaf
    return ServerError
