"""The one place where redis-py's exceptions become Everfold's errors.

Rule: after an `Unavailable` a write may have happened. It is repeated with the same event id, by
the caller, never by redis-py (its default retries would append twice).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import redis.exceptions as theirs
from redis.asyncio import Redis

from everfold.streams.border.addresses import masked_text
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.connections.replies import meaning, shown
from everfold.streams.connections.tls_errors import why_no_handshake, why_not_trusted
from everfold.streams.errors import (
    EverfoldError,
    ServerError,
    ServerNotTrusted,
    ServerUnreachable,
    WrongKeyType,
)

_THEIRS = (
    theirs.RedisError,
    theirs.RedisClusterException,
    theirs.ChildDeadlockedError,
    theirs.IncorrectPolicyType,
)
"""Every root of redis-py's exceptions."""

_CODES: tuple[tuple[type[Exception], str], ...] = (
    # redis-py takes the code away from the texts of these.
    (theirs.NoScriptError, "NOSCRIPT"),
    (theirs.MovedError, "MOVED"),
    (theirs.AskError, "ASK"),
    (theirs.ClusterCrossSlotError, "CROSSSLOT"),
    (theirs.ReadOnlyError, "READONLY"),
    (theirs.BusyLoadingError, "LOADING"),
    (theirs.OutOfMemoryError, "OOM"),
    (theirs.MasterDownError, "MASTERDOWN"),
    (theirs.ClusterDownError, "CLUSTERDOWN"),
    (theirs.TryAgainError, "TRYAGAIN"),
    (theirs.NoPermissionError, "NOPERM"),
    (theirs.AuthorizationError, "NOPERM"),
    (theirs.ExecAbortError, "EXECABORT"),
    (theirs.AuthenticationError, "WRONGPASS"),
)

_UNREACHABLE = "check that it runs, and that REDIS_URL names it"


@contextmanager
def mapped_errors(asked: Sequence[Argument] = ()) -> Iterator[None]:
    """Raise a redis-py error as the leaf of Everfold's tree that it stands for.

    An answer that has no name here is a ServerError, so that no task ends by an unknown word. Of
    the command that was `asked`, a WrongKeyType names the keys.
    """
    try:
        yield
    except _THEIRS as error:
        # Redis repeats the words of a command that it does not know, such as AUTH.
        error.args = tuple(masked_text(str(part)) for part in error.args)
        leaf = _leaf(error)
        if asked and isinstance(leaf, WrongKeyType):
            raise WrongKeyType(f"{leaf}, asked for {_keys(asked)}") from error
        raise leaf from error
    except OSError as error:
        raise _unreachable(error) from error


async def command(redis: Redis, *arguments: Argument, reply_bytes: int = 0) -> object:
    """Send one command; return the answer as the server sent it, texts as bytes.

    `reply_bytes` is the size of a large answer, where that is known: see LedgerRedis. Raises a
    leaf of Unavailable or Misconfigured, WrongKeyType, NoGroup or GroupExists.
    """
    with mapped_errors(arguments):
        if isinstance(redis, LedgerRedis):
            return await redis.execute_command(*arguments, reply_bytes=reply_bytes)
        return cast("object", await redis.execute_command(*arguments))  # type: ignore[no-untyped-call]


async def commands(
    redis: LedgerRedis, each: Iterable[Sequence[Argument]], reply_bytes: Sequence[int] = ()
) -> list[object]:
    """Send many commands at once; return their answers in the same order.

    `reply_bytes` are the sizes of the answers, where they are known and large. Raises the first
    error as `command` does, but only when all of them are over.
    """
    with mapped_errors():
        return await redis.execute_all(each, reply_bytes)


async def commands_together(redis: LedgerRedis, *each: Sequence[Argument]) -> list[object]:
    """Send commands in one write to one server; return their answers in the same order.

    Raises the first error as `command` does, when all of them are over: the others may be done.
    """
    with mapped_errors(each[0]):
        answers = await redis.execute_together(*each)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
    return answers


async def read_hash(redis: Redis, key: str) -> dict[bytes, bytes]:
    """Return a whole hash, empty when there is none. Raises as `command` does."""
    flat = cast("list[bytes]", await command(redis, "HGETALL", key))
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def read_string(redis: Redis, key: str) -> bytes | None:
    """Return a string, None when there is none. Raises as `command` does."""
    return cast("bytes | None", await command(redis, "GET", key))


def _keys(asked: Sequence[Argument]) -> str:
    """Return the keys of a command, as far as it names them, for a sentence."""
    name, words = str(asked[0]), asked[1:2]
    if name.startswith("EVAL"):
        words = asked[3 : 3 + int(asked[2])]
    elif "STREAMS" in asked:
        words = asked[list(asked).index("STREAMS") + 1 :]
    texts = [word.decode(errors="replace") if isinstance(word, bytes) else word for word in words]
    return shown(" ".join(map(str, texts)))


def _leaf(error: Exception) -> EverfoldError:
    if why := why_not_trusted(error):
        return ServerNotTrusted(f"Redis: {why}")
    if why := why_no_handshake(error):
        return ServerUnreachable(f"Redis: {why}")
    text = _text(error)
    leaf, _ = meaning(text)
    if leaf is ServerError and isinstance(error, theirs.ConnectionError | theirs.TimeoutError):
        return _unreachable(error)
    if isinstance(error, theirs.InvalidResponse):
        return ServerUnreachable(f"no Redis server answers there: {_UNREACHABLE} ({shown(text)})")
    return reply_meaning(text)


def reply_meaning(text: str) -> EverfoldError:
    """Return the error that the text of an error reply stands for, also one inside an answer."""
    leaf, sentence = meaning(text)
    return leaf(f"{sentence} (Redis: {shown(text)})")


def _unreachable(error: Exception) -> ServerUnreachable:
    # A name that is not known has no errno, and its number says nothing to people.
    text = re.sub(r"^Error -\d+ connecting to (.+?)\. ", r"\1: ", str(error))
    text = shown(text).rstrip(".") or type(error).__name__
    return ServerUnreachable(f"Redis cannot be reached: {text}; {_UNREACHABLE}")


def _text(error: Exception) -> str:
    """Return a reply as the server sent it: redis-py takes away some codes."""
    text = str(error)
    sent = getattr(error, "status_code", None) or ""
    code = sent or next((code for kind, code in _CODES if isinstance(error, kind)), "")
    return text if code in ("", "ERR") or text.startswith(code) else f"{code} {text}"
