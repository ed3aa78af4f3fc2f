"""The simulator says what the real server said: same messages, fields, order, answers.

Each recorded POST is made again; ids, times, numbers and file counters are made equal first.
Independent nodes may run in another order, so messages are compared per node and, apart from
that, as the sequence of the prompt's life.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

import pytest

from everfold.simulator import simulate
from tests.comfyui.recordings.recording import NAMES, Record, Recording
from tests.simulator.client import Client, client_of

pytestmark = pytest.mark.anyio

PROMPT_BY_PROMPT = (
    *("big-message", "cached", "execution-error", "multi-outputs", "orphan-bad-link"),
    *("partially-valid", "slow-with-progress", "success", "validation-error"),
    *("ws-image-progress", "ws-connected-only-after-submit", "ws-dropped-reconnected-after-end"),
)
ELSEWHERE = {
    "bad-ui-with-client": "test_traps: the process ends",
    "bad-ui-without-client": "test_traps: the history answers 500",
    "deleted-from-queue": "test_traps: a deleted prompt leaves nothing",
    "duplicate-number-500": "test_traps: equal numbers and ids",
    "duplicate-prompt-id-submit": "test_traps: the same id runs twice",
    "history-ops": "test_traps: history by number and by id",
    "interrupt-null-id-is-global": "test_traps: an empty interrupt is global",
    "interrupt-targets-pending": "test_traps: a targeted interrupt of a pending prompt",
    "interrupted": "test_traps: an interrupted prompt",
    "interrupted-deaf-node": "test_traps: a deaf node",
    "never-connected-ws-poll-history": "test_traps: without a socket",
    "odd-prompt-ids": "test_traps: any id is taken",
    "queue-cleared": "test_traps: a cleared queue",
    "queue-of-5": "test_traps: the queue is a heap",
    "server-crash-inside-node": "tests/comfyui: trap_exit",
    "server-killed-mid-run-then-restarted": "test_traps: an empty restart",
    "server-sigterm-mid-run": "test_traps: an empty restart",
    "slow-with-progress-preview-metadata": "test_traps: previews with metadata",
    "stalled-client": "not simulated: a stalled socket freezes nobody here",
    "submit-response-lost": "test_traps: a lost answer",
    "two-clients": "test_traps: messages go to their client",
    "two-sockets-same-client-id": "test_traps: the newer socket goes deaf",
    "ws-dropped-and-reconnected-mid-run": "test_traps: a reconnect in mid-run",
    "ws-without-client-id": "test_traps: without a client id",
    "zombie-duplicate-number": "test_traps: equal numbers and ids",
    "zombie-orphan-no-inputs": "test_traps: an orphan without inputs",
}


@pytest.fixture
async def comfy() -> AsyncIterator[Client]:
    """The recorded server had no model files."""
    async with simulate(speed=10, models={}) as simulator, client_of(simulator) as client:
        yield client


def test_every_recording_is_compared_or_says_where_it_is() -> None:
    assert sorted([*PROMPT_BY_PROMPT, *ELSEWHERE]) == NAMES


def posts(recording: Recording) -> list[Record]:
    return [
        record
        for record in recording.records
        if record["dir"] == "http-request"
        and record["path"] == "/prompt"
        and record["method"] == "POST"
        and isinstance(record["body"], dict)
    ]


def shape(value: Any, key: str = "") -> Any:
    """Return a value with all that differs between two runs made equal."""
    if isinstance(value, dict):
        return {name: shape(item, name) for name, item in value.items() if name not in VARYING}
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"(temp_)[a-z]{5}_|\d{5}_", r"\1#_", value) if "_" in value else "text"
    return type(value).__name__ if key in ("number", "value", "max") else value


VARYING = ("prompt_id", "timestamp", "traceback", "current_inputs", "current_outputs", "text")
"""Ids and clocks; and what the recording or torch has, which no stand-in can say."""

LIFE = ("execution_start", "execution_cached", "execution_success", "execution_error")


def life(messages: list[Record]) -> list[Any]:
    """Return the messages about the prompt as a whole, in order."""
    whole = [m for m in messages if m["type"] in LIFE or is_end(m)]
    return [(m["type"], shape(m["data"])) for m in whole]


def is_end(message: Record) -> bool:
    return message["type"] == "executing" and message["data"].get("node") is None


def per_node(messages: list[Record]) -> dict[str, list[Any]]:
    """Return what was said of each node, in order, repeated progress once."""
    said: dict[str, list[Any]] = {}
    for message in messages:
        data = message["data"]
        if message["type"] in ("executing", "executed", "progress") and data.get("node"):
            fields = shape(data)
            said.setdefault(data["node"], []).append((message["type"], fields))
    return {node: [key for key, _ in groupby(items)] for node, items in said.items()}


@pytest.mark.parametrize("name", PROMPT_BY_PROMPT)
async def test_the_simulator_says_what_the_real_server_said(comfy: Client, name: str) -> None:
    recording = Recording(name)
    compared = 0
    for request in posts(recording):
        answer = recording.response_to(request)
        body = {k: v for k, v in request["body"].items() if k != "client_id"}
        async with comfy.socket("client") as socket:
            here = await comfy.http.post("/prompt", json={**body, "client_id": "client"})
            assert here.status_code == answer["status"], here.text
            if here.status_code == 500:
                continue
            if here.status_code != 200:
                assert_same_refusal(here.json(), answer["body"])
                continue
            assert shape(here.json()) == shape(answer["body"])
            prompt_id = here.json()["prompt_id"]
            await socket.until_end_of(prompt_id)
            entry = await comfy.until_in_history(prompt_id)
            there = messages_of(recording, answer["body"]["prompt_id"])
            if any(is_end(m) for m in there) and there[0]["type"] == "execution_start":
                assert life(socket.of(prompt_id)) == life(there)
                assert per_node(socket.of(prompt_id)) == per_node(there)
            recorded = recording.history_after(request["t"], answer["body"]["prompt_id"])
            if recorded is not None:
                assert_same_history(entry, recorded)
        compared += 1
    assert compared or name == "validation-error"


def messages_of(recording: Recording, prompt_id: str) -> list[Record]:
    return [
        record["msg"]
        for record in recording.records
        if record["dir"] == "ws-recv"
        and isinstance(record.get("msg"), dict)
        and record["msg"].get("data", {}).get("prompt_id") == prompt_id
    ]


def assert_same_refusal(here: Record, there: Record) -> None:
    assert here["error"] == there["error"]
    assert set(here["node_errors"]) == set(there["node_errors"])
    for node, complaint in there["node_errors"].items():
        mine = here["node_errors"][node]
        assert mine["class_type"] == complaint["class_type"]
        assert mine["dependent_outputs"] == complaint["dependent_outputs"]
        said = {(e["type"], e["message"], e["details"]) for e in mine["errors"]}
        assert said == {(e["type"], e["message"], e["details"]) for e in complaint["errors"]}


def assert_same_history(here: Any, there: Record) -> None:
    assert shape(here["outputs"]) == shape(there["outputs"])
    assert here["status"]["status_str"] == there["status"]["status_str"]
    assert here["status"]["completed"] == there["status"]["completed"]
    kinds = [kind for kind, _ in here["status"]["messages"]]
    assert kinds == [kind for kind, _ in there["status"]["messages"]]
    assert set(here) == set(there)
    assert here["meta"] == there["meta"]
    assert here["prompt"][4] == there["prompt"][4] or set(here["prompt"][4]) == set(
        there["prompt"][4]
    )
