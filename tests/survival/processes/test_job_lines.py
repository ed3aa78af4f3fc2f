"""A runner's log has one line for each change of a job, with the same fields in each."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence

import pytest

from everfold.streams.events.event import CancelRequested
from everfold.streams.redis.redis_errors import command
from tests.support.programs.programs import Program
from tests.support.programs.stack import Comfy, Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

PLACE = ("job", "attempt", "backend", "runner")


async def runner(stack: Stack, name: str, comfy: Comfy, **environ: str) -> Program:
    """Start the command, whose standard error is a pipe."""
    program = stack.start(
        *("-m", "everfold", "runner", "--name", name, "--comfyui", f"gpu1={comfy.url}"),
        *("--lease-ttl", "2", "--drain", "0.1"),
        environ={**stack.names, **environ},
    )
    await program.line("takes jobs", within_s=20)
    return program


def lines(program: Program, job_id: str) -> list[dict[str, object]]:
    """Return the lines of a job."""
    found = [json.loads(line) for line in program.error_lines]
    return [line for line in found if line.get("job") == job_id and "attempt" in line]


def events(program: Program, job_id: str) -> list[object]:
    return [line["event"] for line in lines(program, job_id)]


async def until_told(program: Program, job_id: str, event: str) -> Mapping[str, object]:
    await eventually(lambda: event in events(program, job_id), 20)
    return next(line for line in lines(program, job_id) if line["event"] == event)


async def test_a_job_that_runners_carry_on_is_told_change_by_change(stack: Stack) -> None:
    comfy = await stack.comfy()
    first = await runner(stack, "anna", comfy)
    job_id = await stack.submit(seconds=2)
    await until_told(first, job_id, "started")
    first.kill()  # first: on a busy machine the other one may start for longer than the job runs
    second = await runner(stack, "bert", comfy)
    ended = await until_told(second, job_id, "ended")

    assert events(first, job_id) == ["claimed", "started"]
    assert events(second, job_id) == ["recovered", "ended"]
    for line in (*lines(first, job_id), *lines(second, job_id)):
        assert [name for name in line if name in PLACE] == list(PLACE)
        assert (line["attempt"], line["backend"], line["level"]) == (1, "gpu1", "INFO")
    recovered = lines(second, job_id)[0]
    assert str(recovered["former"]).startswith("anna")
    assert recovered["why"] in ("connection_gone", "lease_expired")
    assert (ended["status"], ended["why"]) == ("succeeded", "-")
    assert isinstance(ended["total_s"], float)
    assert 1 < ended["total_s"] < 60
    assert not [line for line in second.error_lines if "httpx" in line or "websockets" in line]


async def test_a_cancel_and_a_drain_are_told_with_their_reason(stack: Stack) -> None:
    comfy = await stack.comfy()
    program = await runner(stack, "anna", comfy, EVERFOLD_LOG_FORMAT="text")
    canceled, released = await stack.submit(seconds=60), await stack.submit(seconds=60)
    await eventually(lambda: _has(program, "INFO started job=", canceled), 20)
    await stack.log.append(canceled, CancelRequested(reason="no\nmore"), epoch=0)
    await command(stack.log.redis, "PUBLISH", stack.log.keys.wake(), f"cancel {canceled}")
    await eventually(lambda: _has(program, "status=canceled", 'why="no\\nmore"'), 20)
    await eventually(lambda: _has(program, "INFO started job=", released), 20)
    program.send(signal.SIGTERM)
    await eventually(lambda: _has(program, "INFO released job=", released, "why=drain"), 30)


def _has(program: Program, *words: str) -> bool:
    return any(all(word in line for word in words) for line in program.error_lines)


async def test_a_backend_that_cannot_be_reached_is_told_at_the_start(stack: Stack) -> None:
    program = stack.start(
        *("-m", "everfold", "runner", "--comfyui", "gpu1=http://127.0.0.1:1"),
        environ=stack.names,
    )

    def told() -> Sequence[dict[str, object]]:
        found = [json.loads(line) for line in program.error_lines]
        return [line for line in found if line.get("event") == "backend_down"]

    (line,) = await eventually(told, 20)
    assert (line["level"], line["backend"]) == ("WARNING", "gpu1")
    assert line["why"]


async def test_a_runner_says_why_it_takes_nothing(stack: Stack) -> None:
    comfy = await stack.comfy()
    program = await runner(stack, "anna", comfy)
    graph = {"1": {"class_type": "NobodyHasThis", "inputs": {}}}
    job_id = (await stack.log.submit(graph)).job_id

    def told() -> Sequence[dict[str, object]]:
        found = [json.loads(line) for line in program.error_lines]
        return [line for line in found if line.get("event") == "nothing_claimed"]

    line = (await eventually(told, 20))[0]
    assert (line["queue"], line["job"]) == ("default", job_id)
    assert "NobodyHasThis" in str(line["why"])
