"""What the history says about a prompt that has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.runner.backend import Ended
from everfold.runner.comfyui.truth import NotUnderstood, read_history
from everfold.runner.loose_json import NAME_LIMIT
from everfold.streams.events.event import Failure
from everfold.streams.events.limits import NODES_LIMIT, TRACEBACK_LIMIT_BYTES
from tests.comfyui.hostile.test_loose_json import JSON_VALUES

TRANSCRIPTS = Path(__file__).parents[2] / "data" / "transcripts"


def entry(
    *messages: tuple[str, dict[str, object]],
    status: str = "error",
    outputs: object = None,
    wanted: list[str] | None = None,
) -> dict[str, Any]:
    return {
        "p": {
            "prompt": [0, "p", {}, {}, wanted or []],
            "outputs": outputs if outputs is not None else {},
            "status": {
                "status_str": status,
                "completed": status == "success",
                "messages": [list(message) for message in messages],
            },
        }
    }


def ended(body: dict[str, Any]) -> Ended:
    read = read_history(body, "p")
    assert read is not None
    return read


def recorded(name: str) -> Ended:
    """Return the end that the recording of a real server has in its history."""
    for line in (TRANSCRIPTS / f"{name}.jsonl").read_text().splitlines():
        body = json.loads(line).get("body")
        if isinstance(body, dict) and len(body) == 1 and "status" in next(iter(body.values()), ()):
            read = read_history(body, next(iter(body)))
            assert read is not None
            return read
    raise AssertionError(f"{name} has no history")


def test_a_failure_keeps_what_the_real_server_told_of_it() -> None:
    failure = recorded("execution-error").failure
    assert failure is not None
    assert (failure.exception_type, failure.executed) == ("RuntimeError", ("1", "2"))
    assert failure.traceback
    assert failure.traceback.startswith('  File "/comfyui/execution.py", line 496, in execute\n')
    assert failure.traceback.endswith('jobtest_nodes.py", line 67, in go\n')


def test_an_interrupt_keeps_the_nodes_that_were_executed() -> None:
    assert recorded("interrupted").executed == ("1",)


def failed(lines: object, executed: object = ()) -> Failure:
    error = {"exception_type": "E", "traceback": lines, "executed": executed}
    failure = ended(entry(("execution_error", error))).failure
    assert failure is not None
    return failure


def test_a_traceback_is_bounded_and_its_end_is_kept() -> None:
    lines = [f"  File {i} é\n" for i in range(10_000)]
    kept = failed(lines).traceback
    assert kept
    assert kept.endswith(lines[-1])
    assert kept.startswith("  File ")
    assert TRACEBACK_LIMIT_BYTES - 50 < len(kept.encode()) <= TRACEBACK_LIMIT_BYTES


@pytest.mark.parametrize("lines", [None, 7, [], [7], {}, [["x"]], ["x" * 200_000], "text"])
def test_a_traceback_that_is_none_is_left_out(lines: object) -> None:
    assert not failed(lines).traceback


def test_secrets_in_a_traceback_are_masked() -> None:
    lines = ["  open('https://ada:hunter2@host/x?token=hunter2', api_key='hunter2')\n"]
    assert "hunter2" not in (failed(lines).traceback or "hunter2")


def test_lists_of_nodes_are_bounded() -> None:
    nodes = failed([], [str(i) for i in range(5_000)]).executed
    assert nodes
    assert len(nodes) == NODES_LIMIT
    cached = entry(("execution_cached", {"nodes": ["1", 7, None, "2" * 9_999]}), status="success")
    assert [len(node) for node in ended(cached).cached] == [1, NAME_LIMIT]


def test_a_prompt_that_is_not_there_has_not_ended() -> None:
    assert read_history({}, "p") is None


@pytest.mark.parametrize(
    "body", [{"q": {}}, {"error": "no"}, {"p": None}, {"p": []}, {"p": 1}, [], None, "p", 10**400]
)
def test_a_history_of_something_else_says_nothing(body: object) -> None:
    with pytest.raises(NotUnderstood):
        read_history(body, "p")


@pytest.mark.parametrize("status", [None, {}, "done", {"completed": False}])
def test_an_end_without_a_word_is_a_failure_that_claims_nothing(status: object) -> None:
    failure = ended({"p": {"status": status, "outputs": {}}}).failure
    assert failure is not None
    assert "does not say why" in failure.message


def test_servers_that_leave_the_word_out_say_completed() -> None:
    assert ended({"p": {"status": {"completed": True}, "outputs": {}}}).succeeded
    assert ended({"p": {"status": {"status_str": "cancelled"}, "outputs": {}}}).interrupted


def test_success_has_times_and_outputs() -> None:
    read = ended(
        entry(
            ("execution_start", {"timestamp": 1000}),
            ("execution_cached", {"nodes": []}),
            ("execution_success", {"timestamp": 1500}),
            status="success",
            outputs={"4": {"images": [{"filename": "a.png"}]}, "5": None},
            wanted=["4"],
        )
    )
    assert read.succeeded
    assert (read.interrupted, read.outputs_reused, read.failure) == (False, False, None)
    assert (read.started_at_ms, read.ended_at_ms) == (1000, 1500)
    assert read.outputs == {"4": {"images": [{"filename": "a.png"}]}}


def test_outputs_are_reused_when_every_output_node_was_cached() -> None:
    cached: tuple[str, dict[str, object]] = ("execution_cached", {"nodes": ["1", "3"]})
    assert ended(entry(cached, status="success", wanted=["3"])).outputs_reused
    assert not ended(entry(cached, status="success", wanted=["3", "4"])).outputs_reused
    assert not ended(entry(cached, status="error", wanted=["3"])).outputs_reused
    assert not ended(entry(cached, status="success")).outputs_reused


def test_an_interrupt_is_told_apart_from_an_error() -> None:
    read = ended(entry(("execution_interrupted", {"timestamp": 7, "node_id": "2"})))
    assert read.interrupted
    assert (read.succeeded, read.failure, read.ended_at_ms) == (False, None, 7)


def test_an_interrupt_that_came_too_late_is_a_success() -> None:
    read = ended(entry(("execution_success", {}), status="success"))
    assert (read.succeeded, read.interrupted) == (True, False)


def test_a_blocked_node_before_the_error_is_not_the_reason() -> None:
    read = ended(
        entry(
            ("execution_error", {"exception_type": "ExecutionBlocked", "node_id": "1"}),
            ("execution_error", {"exception_type": "ValueError", "node_id": "2"}),
        )
    )
    assert read.failure is not None
    assert read.failure.node == "2"


def test_every_way_to_run_out_of_memory_is_retryable() -> None:
    for kind, words in [
        ("torch.OutOfMemoryError", ""),
        ("torch.cuda.OutOfMemoryError", ""),
        ("MemoryError", ""),
        ("RuntimeError", "HIP out of memory. Tried to allocate"),
    ]:
        details: dict[str, object] = {"exception_type": kind, "exception_message": words}
        failure = ended(entry(("execution_error", details))).failure
        assert failure is not None
        assert (failure.code, failure.retryable) == ("out_of_memory", True)


def test_an_error_without_a_reason_says_so() -> None:
    failure = ended(entry()).failure
    assert failure is not None
    assert failure.code == "execution_error"
    assert "does not say why" in failure.message


def test_a_message_full_of_tensors_is_cut() -> None:
    details: dict[str, object] = {"exception_message": "0.1, " * 10_000}
    failure = ended(entry(("execution_error", details))).failure
    assert failure is not None
    assert len(failure.message) == 2000


@pytest.mark.parametrize(
    "other",
    [
        {**entry(status="success")["p"], "prompt": [0, "q", {}, {}, []]},
        entry(("execution_start", {"prompt_id": "q"}), status="success")["p"],
        entry(("execution_success", {"prompt_id": "p"}), ("x", {"prompt_id": "q"}))["p"],
    ],
)
def test_an_entry_that_speaks_of_another_prompt_says_nothing(other: object) -> None:
    with pytest.raises(NotUnderstood, match="another prompt"):
        read_history({"p": other}, "p")


@pytest.mark.parametrize("time", [1e308, -1e308, -1, 10**400, 10**15, None, "1", [1], True, 0.5e-9])
def test_a_time_that_is_none_is_left_out(time: object) -> None:
    read = ended(
        entry(("execution_start", {"timestamp": time}), ("execution_error", {"timestamp": time}))
    )
    shown = 0 if time == 0.5e-9 else None
    assert (read.started_at_ms, read.ended_at_ms) == (shown, shown)


@given(JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_any_entry_is_an_end(status: object, outputs: object, prompt: object) -> None:
    if isinstance(prompt, list) and len(prompt) > 1:
        prompt[1] = "p"
    body = {"p": {"status": status, "outputs": outputs, "prompt": prompt}}
    assert isinstance(read_history(body, "p"), Ended)


@given(st.lists(st.lists(JSON_VALUES, max_size=3)))
def test_any_messages_are_an_end(messages: object) -> None:
    body = {"p": {"status": {"status_str": "success", "messages": messages}}}
    assert ended(body).succeeded
