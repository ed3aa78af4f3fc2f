"""Large bodies are read like small ones, in bounded memory and without standing still."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner import loose_json
from everfold.runner.backend import Ended, Truth, Unreachable
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.comfyui.large_bodies import history_value, queue_value
from everfold.runner.comfyui.truth import NotUnderstood, read_history, read_queue
from everfold.streams.events.shortening import TRUNCATED
from tests.comfyui.hostile.large_answers import COSTLY, Answers, Cost, P, history_of, serving
from tests.comfyui.hostile.test_loose_json import JSON_VALUES
from tests.support.programs.programs import ROOT

ITEMS = st.lists(JSON_VALUES, max_size=6) | st.builds(
    lambda number, graph, outputs: [number, P, graph, {}, outputs],
    st.integers() | st.floats(),
    JSON_VALUES,
    JSON_VALUES,
)
QUEUES = st.fixed_dictionaries(
    {"queue_running": st.lists(ITEMS, max_size=2), "queue_pending": st.lists(ITEMS, max_size=3)}
)
ENTRIES = st.fixed_dictionaries(
    {}, optional={"prompt": ITEMS, "outputs": JSON_VALUES, "status": JSON_VALUES}
)


async def truth_of(history: bytes) -> Truth:
    """Return the truth of P where the queue is empty and the history has this body."""
    with serving(Answers(history=lambda: iter([history]))) as url:
        backend = ComfyBackend(url)
        truth = await backend.truth(P, "")
        await backend.aclose()
    return truth


def told(read: Callable[[], object]) -> object:
    try:
        return read()
    except (NotUnderstood, ValueError):
        return "not understood"


@given(QUEUES)
def test_a_queue_without_graphs_says_the_same(queue: object) -> None:
    body = json.dumps(queue).encode()
    whole = told(lambda: read_queue(loose_json.read(body)))
    assert told(lambda: read_queue(queue_value(body))) == whole


@given(ENTRIES, st.sampled_from([P, "another"]))
def test_a_history_without_graphs_says_the_same(entry: object, name: str) -> None:
    body = json.dumps({name: entry}).encode()
    whole = told(lambda: read_history(loose_json.read(body), P))
    assert told(lambda: read_history(history_value(body, P), P)) == whole


def test_a_queue_of_more_prompts_than_anybody_has_is_not_understood() -> None:
    with pytest.raises(NotUnderstood, match="prompts"):
        queue_value(b'{"queue_running":[],"queue_pending":[%b]}' % b",".join([b'[1,"x"]'] * 20_000))


@pytest.mark.parametrize("odd", [b"", b'"n":NaN,'])
def test_outputs_of_too_many_values_are_left_out_and_the_others_kept(odd: bytes) -> None:
    small, large = b'{"images":[{"filename":"a.png"}]}', b'{"x":[%b1]}' % (b"1," * 600_000)
    entry = b'"outputs":{"1":%b,"2":%b},"status":{"status_str":"success"}' % (small, large)
    body = b'{"%b":{%b"prompt":[1,"%b",{},{},["1"]],%b}}' % (P.encode(), odd, P.encode(), entry)
    if odd:
        with pytest.raises(loose_json.TooManyValues):
            history_value(body, P)
        return
    ended = read_history(history_value(body, P), P)
    assert ended is not None
    assert ended.succeeded
    assert ended.outputs["1"] == {"images": [{"filename": "a.png"}]}
    assert ended.outputs["2"] == {TRUNCATED: True, "bytes": len(large)}


def test_an_output_that_is_nested_too_deep_is_left_out_and_the_others_kept() -> None:
    deep = b'{"x":' + b"[" * 500 + b"]" * 500 + b"}"
    history = history_of(b'{"y":[1]},"2":' + deep)
    ended = read_history(history_value(history, P), P)
    assert ended is not None
    assert ended.outputs == {"1": {"y": [1]}, "2": {TRUNCATED: True, "bytes": len(deep)}}


@pytest.mark.anyio
async def test_an_output_of_32_mebibytes_is_read() -> None:
    text = b"x" * 2**25
    ended = await truth_of(history_of(b'{"text": ["%b"]}' % text))
    assert isinstance(ended, Ended)
    assert ended.outputs == {"1": {"text": [text.decode()]}}


@pytest.mark.anyio
async def test_a_history_entry_beyond_the_limit_is_an_end_that_is_not_repeated() -> None:
    ended = await truth_of(history_of(b'{"text": ["%b"]}' % (b"x" * 2**26)))
    assert isinstance(ended, Ended)
    assert ended.failure is not None
    assert ended.failure.code == "unreadable_outputs"


@pytest.mark.anyio
async def test_a_large_history_of_something_else_says_nothing() -> None:
    truth = await truth_of(b'{"other": ["%b"]}' % (b"x" * 2**26))
    assert isinstance(truth, Unreachable)


@pytest.mark.long
def test_nothing_costs_much_memory_or_keeps_the_event_loop_waiting() -> None:
    """Each answer in a process of its own, because memory that was used once stays there."""
    for name in COSTLY:
        command = [sys.executable, "-m", "tests.comfyui.hostile.large_answers", name]
        done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
        cost = msgspec.json.decode(done.stdout, type=Cost)
        assert cost.stall_s < 0.5, (name, cost)
        assert cost.peak_mib < 300, (name, cost)
        assert not cost.truth.startswith("Absent"), (name, cost)
