"""A job's life in ComfyUI's messages, compared with recordings of a real server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from everfold.projector.job.job import Job
from everfold.projector.job.words import Status
from everfold.runner.comfyui.truth import read_history
from everfold.streams.events.event import Failure
from everfold.web.comfyui.lifecycle_messages import execution_end, history_messages
from tests.comfyui.recordings.recording import NAMES, Recording

UNKNOWN_HERE = ("current_inputs", "current_outputs", "traceback")


def entries() -> list[tuple[str, dict[str, Any]]]:
    found: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        for record in Recording(name).records:
            body = record.get("body")
            if record["dir"] == "http-response" and isinstance(body, dict):
                found |= {k: v for k, v in body.items() if isinstance(v, dict) and "status" in v}
    return list(found.items())


def job_of(entry: dict[str, Any], prompt_id: str) -> Job:
    """Return the job that a runner makes of a history entry."""
    ended = read_history({prompt_id: entry}, prompt_id)
    assert ended is not None
    status: Status = (
        "succeeded" if ended.succeeded else "canceled" if ended.interrupted else "failed"
    )
    last = entry["status"]["messages"][-1][1]
    return Job(
        job_id=prompt_id,
        status=status,
        node=last.get("node_id", "") if status == "canceled" else "",
        node_class=last.get("node_type", "") if status == "canceled" else "",
        error=ended.failure,
        executed=ended.executed,
        cached=ended.cached,
        started_at_ms=ended.started_at_ms or 0,
        ended_at_ms=ended.ended_at_ms or 0,
    )


def plain(messages: object) -> list[tuple[str, dict[str, Any]]]:
    found: list[list[Any]] = msgspec.json.decode(msgspec.json.encode(messages))
    return [
        (kind, {name: value for name, value in data.items() if name not in UNKNOWN_HERE})
        for kind, data in found
    ]


def as_known_here(messages: object) -> list[tuple[str, dict[str, Any]]]:
    """Return recorded messages with one time for the start and the cached nodes, which is a
    millisecond apart, and without the space after an exception's words."""
    found = plain(messages)
    start_ms = found[0][1]["timestamp"]
    return [
        (
            kind,
            {
                name: start_ms
                if (kind, name) == ("execution_cached", "timestamp")
                else value.strip()
                if name == "exception_message"
                else value
                for name, value in data.items()
            },
        )
        for kind, data in found
    ]


def test_recorded_lives_are_told_in_the_same_messages() -> None:
    recorded = entries()
    assert len(recorded) > 30
    for prompt_id, entry in recorded:
        told = plain(history_messages(job_of(entry, prompt_id), prompt_id))
        assert told == as_known_here(entry["status"]["messages"]), prompt_id


def test_fields_stand_in_the_order_of_comfyui() -> None:
    for prompt_id, entry in entries():
        mine = msgspec.to_builtins(history_messages(job_of(entry, prompt_id), prompt_id))
        assert [list(data) for _, data in mine] == [
            list(data) for _, data in entry["status"]["messages"]
        ]


@pytest.mark.parametrize("status", ["queued", "running", "canceling"])
def test_an_open_job_has_no_end(status: Status) -> None:
    assert execution_end(Job(status=status, started_at_ms=1), "p") is None


def test_a_failure_of_no_node_names_its_code() -> None:
    failure = Failure(code="backend_lost", message="it is gone")
    job = Job(status="failed", error=failure, ended_at_ms=7)

    [(kind, message)] = plain(history_messages(job, "p"))

    assert kind == "execution_error"
    assert message["exception_type"] == "everfold.backend_lost"
    assert message["exception_message"] == "it is gone"


def test_a_job_that_was_too_late_says_so() -> None:
    job = Job(status="expired", reason="queue_deadline", ended_at_ms=7)

    [(_, message)] = plain(history_messages(job, "p"))

    assert message["exception_type"] == "everfold.queue_deadline"
