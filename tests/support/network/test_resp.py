from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.network import resp

MESSAGES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"$5\r\nhe\r\no\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*2\r\n*1\r\n:1\r\n$1\r\na\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n+c\r\n",
    b"~1\r\n+a\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"=7\r\ntxt:abc\r\n",
    b">2\r\n+message\r\n+x\r\n",
    b"|1\r\n+ttl\r\n:3\r\n*1\r\n+a\r\n",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_each_kind_of_message_ends_where_the_next_begins(message: bytes) -> None:
    assert resp.split(message + b"+next\r\n") == ([message, b"+next\r\n"], b"")


@given(st.lists(st.sampled_from(MESSAGES), max_size=6), st.data())
def test_messages_are_the_same_however_the_bytes_are_cut(
    messages: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(messages)
    cut = data.draw(st.integers(0, len(whole)))

    first, rest = resp.split(whole[:cut])
    second, left = resp.split(rest + whole[cut:])

    assert (first + second, left) == (messages, b"")


def test_only_what_the_server_sends_unasked_is_a_push() -> None:
    assert [m for m in MESSAGES if resp.is_push(m)] == [b">2\r\n+message\r\n+x\r\n"]
