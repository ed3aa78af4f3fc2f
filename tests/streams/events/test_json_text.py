"""JSON that anybody may have written: read, or refused with one kind of error, on any stack."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everfold.projector.job.state import from_fields
from everfold.streams.archive.segment import read_segment, write_segment
from everfold.streams.errors import InvalidName, InvalidWorkflow
from everfold.streams.events.checks import check_metadata
from everfold.streams.events.codec import Unreadable, decode, encode
from everfold.streams.events.event import OutputSaved, Succeeded
from everfold.streams.events.json_text import NotJson, decoder, nests_within, read_unique_json
from everfold.streams.events.limits import EVENT_NESTING, NESTING_LIMIT, STORED_NESTING
from everfold.streams.events.record import RawEntry, recorded
from everfold.streams.events.workflow_check import check_workflow

TREE = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('[]{}"\\x')),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.sampled_from('[{"\\')), inner, max_size=2)
    ),
)


def height(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(height, value.values()), default=0)
    return 1 + max(map(height, value), default=0) if isinstance(value, list) else 0


def deep(levels: int) -> object:
    """Return a text in `levels` lists and objects, by turns."""
    value: object = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def on_a_full_stack(call: Callable[[], object], frames: int = 700) -> object:
    """Call it with little of the stack left."""
    return call() if frames == 0 else on_a_full_stack(call, frames - 1)


@settings(max_examples=200)
@given(TREE, st.integers(0, 6), st.booleans())
def test_the_levels_of_a_text_are_those_of_its_value(
    value: object, levels: int, is_text: bool
) -> None:
    text = json.dumps(value)
    assert nests_within(text if is_text else text.encode(), levels) == (height(value) <= levels)


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_a_decoder_reads_or_raises_one_kind_of_error(text: bytes | str) -> None:
    try:
        decoder(dict[str, int])(text)
    except NotJson:
        return
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("levels", [STORED_NESTING + 1, 500, 990, 5_000, 200_000])
def test_what_is_nested_too_deep_is_refused_alike_on_any_stack(levels: int) -> None:
    text = b"[" * levels + b"]" * levels
    said = set[str]()
    for frames in (0, 700):
        with pytest.raises(NotJson) as refused:
            on_a_full_stack(lambda: decoder(object)(text), frames)
        said.add(str(refused.value))
    assert said == {f"it is nested deeper than {STORED_NESTING} levels"}


def test_metadata_and_graphs_of_the_limit_are_accepted_and_read_on_a_full_stack() -> None:
    metadata = {"a": deep(NESTING_LIMIT - 1)}
    assert on_a_full_stack(lambda: check_metadata(metadata)) == metadata
    with pytest.raises(InvalidName, match="nested deeper than 64 levels"):
        check_metadata({"a": deep(NESTING_LIMIT)})
    graph = {"1": {"class_type": "A", "inputs": {"x": deep(NESTING_LIMIT - 3)}}}
    assert check_workflow(json.dumps(graph)) == check_workflow(graph)
    graph["1"]["inputs"] = {"x": deep(NESTING_LIMIT - 2)}
    for form in (graph, json.dumps(graph)):
        with pytest.raises(InvalidWorkflow, match="nested deeper than 64 levels"):
            check_workflow(form)


@pytest.mark.parametrize("levels", [NESTING_LIMIT - 1, NESTING_LIMIT, 100, 390])
def test_of_deep_outputs_the_rest_is_recorded_with_a_mark(levels: int) -> None:
    output = {"images": [{"filename": "a.png"}], "odd": deep(levels)}
    saved = decode(encode(OutputSaved(attempt=1, node="9", output=output)))
    ended = decode(encode(Succeeded(attempt=1, outputs={"9": output, "7": {"text": ["x"]}})))
    assert isinstance(saved, OutputSaved)
    assert isinstance(ended, Succeeded)
    assert ended.outputs == {"9": saved.output, "7": {"text": ["x"]}}
    if levels < NESTING_LIMIT:
        assert saved.output == output
    else:
        assert saved.output.pop("bytes") == len(json.dumps(output, separators=(",", ":")))
        assert saved.output == {"images": output["images"], "everfold_truncated": True}


@pytest.mark.parametrize("levels", [EVENT_NESTING + 1, 500, 960])
def test_a_deep_event_of_another_program_stops_no_reader(levels: int) -> None:
    nest = b"[" * levels + b"]" * levels
    payload = b'{"type":"job.output_saved","attempt":1,"node":"1","output":{"x":%b}}' % nest
    for frames in (0, 700):
        assert isinstance(on_a_full_stack(lambda: decode(payload), frames), Unreadable)
    entry: RawEntry = (
        b"1-0", [b"j", b"a", b"s", b"1", b"e", b"0", b"p", b"0-0", b"d", payload],
    )  # fmt: skip
    content = on_a_full_stack(lambda: write_segment([entry], [recorded(*entry)]))
    assert isinstance(content, bytes)
    assert on_a_full_stack(lambda: list(read_segment(content))) == [entry]
    stored = {b"seq": b"1", b"metadata": b'{"a":%b}' % nest}
    assert (from_fields(stored) is None) == (levels >= STORED_NESTING)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_file_in_any_encoding_of_unicode_is_read(encoding: str) -> None:
    assert read_unique_json('{"é": ["日本"]}'.encode(encoding), 9) == {"é": ["日本"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"1": 2, "1": 2}', "'1' stands twice in one object"),
        ('[{"a": {"x": 1, "y": 2, "x": 1}}]', "'x' stands twice"),
        ("[NaN]", "NaN, which JSON does not have"),
        ("[-Infinity]", "-Infinity, which"),
        (b"\xff\xfe\x00", "can't decode"),
        (b"\x80{}", "decode"),
        ("[" * 10 + "]" * 10, "deeper than 9 levels"),
        ("9" * 5000, "digits"),
        ("", "Expecting value"),
    ],
)
def test_a_file_that_says_two_things_or_no_json_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(NotJson, match=words):
        read_unique_json(text, 9)
