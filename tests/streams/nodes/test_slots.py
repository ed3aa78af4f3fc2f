"""Slots as the server computes them, and the first key of every command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.nodes.first_key import UnknownCommand, first_key
from everfold.streams.nodes.slots import SLOTS, slot_of


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("", 0),
        ("foo", 12182),
        ("123456789", 12739),
        ("{user1000}.following", 3443),
        ("{user1000}.followers", 3443),
        ("foo{}{bar}", 8363),
        ("foo{{bar}}zap", 4015),
        ("foo{bar}{zap}", 5061),
        ("foo{bar", 15278),
    ],
)
def test_the_slots_of_the_specification(key: str, slot: int) -> None:
    assert slot_of(key) == slot_of(key.encode()) == slot


@given(
    st.text(), st.text(st.characters(codec="utf-8", exclude_characters="{}"), min_size=1), st.text()
)
def test_only_the_tag_decides(before: str, tag: str, after: str) -> None:
    before = before.replace("{", "")
    assert slot_of(f"{before}{{{tag}}}{after}") == slot_of(f"{{{tag}}}")
    assert 0 <= slot_of(before) < SLOTS


COMMANDS: list[tuple[tuple[str | bytes | int, ...], str | bytes | None]] = [
    (("GET", "k"), "k"),
    (("get", b"k"), b"k"),
    (("EVALSHA", "sha", 2, "k1", "k2", "a"), "k1"),
    (("EVALSHA", "sha", "1", "k1"), "k1"),
    (("EVAL_RO", "return 1", 0, "a"), None),
    (("XREAD", "COUNT", 1, "BLOCK", 5, "STREAMS", "k", "0"), "k"),
    (("XREADGROUP", "GROUP", "STREAMS", "c", "COUNT", 1, "STREAMS", "k", ">"), "k"),
    (("XGROUP CREATE", "k", "g", "0"), "k"),
    (("XGROUP", "CREATE", "k", "g", "0"), "k"),
    (("XINFO", "STREAM", "k"), "k"),
    (("MEMORY USAGE", "k"), "k"),
    (("MEMORY", "STATS"), None),
    (("OBJECT", "ENCODING", "k"), "k"),
    (("SPUBLISH", "{ns:0}:wake", "x"), "{ns:0}:wake"),
    (("PUBLISH", "ns:wake", "x"), None),
    (("CLIENT LIST",), None),
    (("TIME",), None),
    (("XREAD", "BLOCK", 5), None),
]


@pytest.mark.parametrize(("command", "key"), COMMANDS)
def test_the_first_key(command: tuple[str | bytes | int, ...], key: str | bytes | None) -> None:
    assert first_key(command) == key


def test_a_command_that_nobody_listed_is_refused() -> None:
    with pytest.raises(UnknownCommand, match="MIGRATE"):
        first_key(("MIGRATE", "host", 1, "key"))
    with pytest.raises(UnknownCommand):
        first_key((b"",))
