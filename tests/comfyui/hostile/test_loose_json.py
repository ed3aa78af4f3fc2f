"""JSON as Python writes it becomes values that any JSON writer accepts."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner import loose_json

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_whatever_python_writes_can_be_read_and_written_by_the_log(value: object) -> None:
    read = loose_json.read(json.dumps(value))
    assert msgspec.json.decode(msgspec.json.encode(read)) == read


@given(st.binary())
def test_garbage_is_a_value_error_or_a_value(text: bytes) -> None:
    with suppress(ValueError):
        loose_json.read(text)


def test_what_json_cannot_hold_becomes_null() -> None:
    text = '{"a": NaN, "b": [Infinity, -Infinity, 1e999, 1], "c": "NaN"}'
    assert loose_json.read(text) == {"a": None, "b": [None, None, None, 1], "c": "NaN"}


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert loose_json.read(b'{"\\ud800": "a\\udfffb"}') == {"?": "a?b"}


def test_bottomless_nesting_is_refused() -> None:
    with pytest.raises(ValueError, match="nested"):
        loose_json.read("[" * 200_000)
