"""What is printed of an event is one line of JSON, or of text, whatever stands in the log."""

from __future__ import annotations

import json

import msgspec
import pytest

from everfold.commands.formats import event_line, event_object
from everfold.streams.border.text import for_terminal
from everfold.streams.events.record import recorded

STORED = [
    b'{"type":"job.started","attempt":1}',
    b'{"type":"job.started",\n"attempt":1}',
    b'{"type":"job.started","attempt":1,"later":"\xff"}',
    b'{"type":"job.teleported"}',
    b"hello world",
    b"\xff\xfe",
]


@pytest.mark.parametrize("payload", STORED)
def test_every_entry_is_one_line(payload: bytes) -> None:
    flat = [b"j", b"job", b"s", b"1", b"e", b"0", b"p", b"0-0", b"d", payload]
    record = recorded(b"1700000000000-0", flat)
    line = msgspec.json.encode(event_object(record))
    assert b"\n" not in line
    assert json.loads(line)["seq"] == 1
    parts = event_line(record)
    assert "\n" not in "".join(part if isinstance(part, str) else part[0] for part in parts)


def test_an_entry_that_is_not_ours_is_one_line_too() -> None:
    record = recorded(b"1700000000000-0", [b"hello", b"world"])
    assert json.loads(msgspec.json.encode(event_object(record)))["event"] == "hello world"


def test_what_would_steer_a_terminal_is_escaped() -> None:
    assert (
        for_terminal("\x1b]0;title\x07 [b] :x: \x9b2J\r\n")
        == r"\x1b]0;title\x07 [b] :x: \x9b2J\r\n"
    )
