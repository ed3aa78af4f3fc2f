"""Each error reply of a server, and each exception of redis-py, is one leaf with a sentence."""

from __future__ import annotations

import errno
import inspect
import ssl

import anyio
import pytest
import redis.exceptions as theirs
from anyio.abc import ByteStream, SocketAttribute

from everfold.streams import errors
from everfold.streams.connections.connection import reply_error
from everfold.streams.connections.replies import SHOWN_LIMIT, is_passing
from everfold.streams.errors import EverfoldError, ServerError, ServerUnreachable, SlotMoved
from everfold.streams.redis.redis_errors import command, mapped_errors
from everfold.streams.redis.server import connect
from tests.support.network import resp
from tests.support.network.replies import REPLIES, passed_on

LONGEST = SHOWN_LIMIT + 250

LEAVES = {
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, EverfoldError)
}


def raised(error: Exception) -> EverfoldError:
    """Return what the mapping makes of an error of redis-py or of the system."""
    with pytest.raises(EverfoldError) as caught, mapped_errors():
        raise error
    assert caught.value.__cause__ is error
    return caught.value


def assert_sentence(error: EverfoldError) -> None:
    text = str(error)
    assert text.isprintable(), repr(text)
    assert 30 < len(text) <= LONGEST, text
    assert any(isinstance(error, leaf) for leaf in LEAVES), type(error)


def test_each_reply_is_its_leaf_and_says_what_to_do() -> None:
    for reply in REPLIES:
        for text in (reply.text, *passed_on(reply.text)):
            error = raised(reply_error(text))
            assert isinstance(error, reply.leaf), (text, type(error))
            assert reply.says in str(error), (text, str(error))
            assert_sentence(error)


def test_a_reply_is_shown_with_its_code_which_redis_py_takes_away() -> None:
    for reply in REPLIES[:-4]:
        code = reply.text.split()[0]
        if code != "ERR":
            assert f"(Redis: {code} " in str(raised(reply_error(reply.text)))


def test_each_exception_of_redis_py_is_a_leaf() -> None:
    for kind in vars(theirs).values():
        if not (inspect.isclass(kind) and issubclass(kind, Exception)):
            continue
        shapes = ("", "a \x1b[2J\n" * 1000) if not issubclass(kind, theirs.AskError) else ()
        for text in ("1 127.0.0.1:1", *shapes):
            assert_sentence(raised(kind(text)))


def test_each_error_of_the_system_is_unreachable() -> None:
    trouble: list[OSError] = [OSError(), TimeoutError(), ConnectionResetError(errno.ECONNRESET)]
    trouble += [ssl.SSLError(1, "certificate \x1b[2J"), OSError(errno.EMFILE, "x" * 1000)]
    for error in trouble:
        assert type(raised(error)) is ServerUnreachable
        assert_sentence(raised(error))


def test_a_name_is_given_up_only_where_the_server_refuses_it() -> None:
    assert is_passing("BUSY Redis is busy running a script.")
    assert not is_passing("ERR unknown command 'CLIENT'")
    assert not is_passing("NOPERM this user has no permissions to run the 'client' command")
    assert issubclass(ServerError, errors.Unavailable)


@pytest.mark.anyio
async def test_a_reply_that_redis_py_cannot_parse_is_known_too_and_breaks_no_connection() -> None:
    async def answer(stream: ByteStream) -> None:
        async with stream:
            rest, asked = b"", 0
            while True:
                requests, rest = resp.split(rest + await stream.receive())
                for _ in requests:
                    asked += 1
                    is_one = asked == 2  # the first is CLIENT SETNAME
                    await stream.send(b"-MOVED 1 a:1 script: on it\r\n" if is_one else b"+OK\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        redis = connect(f"redis://127.0.0.1:{port}")
        with pytest.raises(SlotMoved, match="MOVED 1 a:1"):
            await command(redis, "GET", "x")
        assert await command(redis, "GET", "x") == b"OK"
        assert redis.connections_opened() == 1
        await redis.aclose()
        tasks.cancel_scope.cancel()
    await listener.aclose()
