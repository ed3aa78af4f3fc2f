"""Every example runs as a program of its own and prints what it promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.simulator import Simulator, simulate
from tests.support.programs.programs import StartProgram
from tests.support.servers import OwnServer, StartServer

pytestmark = pytest.mark.anyio

EXAMPLES = {
    "submit_and_wait": "succeeded",
    "watch_progress": "100%",
    "submit_once": "same job: True",
    "cancel": "canceled",
    "read_events": "job.canceled",
    "own_runner": "succeeded by app-",
    "img2img": "6 pictures from 2 servers",
    "producer": "Succeeded",
    "jobs_per_hour": "3 submitted, 0 succeeded",
    "one_address": "12 pictures of 12 colours for 12 prompts",
}
NEEDS_RUNNER = ("submit_and_wait", "watch_progress")


@pytest.fixture
async def comfy() -> AsyncIterator[Simulator]:
    async with simulate() as simulator:
        yield simulator


@pytest.fixture
def server(own_server: StartServer) -> OwnServer:
    return own_server()


RUN_ELSEWHERE = {"receipts", "tally", "own_cursor"}
"""They run until they are ended: test_consumers.py."""


def test_every_example_is_listed_here() -> None:
    found = {path.stem for path in Path("examples").glob("*.py")}
    assert found - {"__init__", "workflow"} == {*EXAMPLES, *RUN_ELSEWHERE}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
async def test_the_example_runs(
    name: str, server: OwnServer, comfy: Simulator, start_program: StartProgram
) -> None:
    environ = {"REDIS_URL": server.url, "COMFYUI_URL": comfy.url}
    if name in NEEDS_RUNNER:
        runner = start_program("-m", "everfold", "runner", environ=environ)
        await runner.line("serves")
    example = start_program("-m", f"examples.{name}", environ=environ)
    assert await example.end(within_s=100) == 0, example
    assert any(EXAMPLES[name] in line for line in example.lines), example
    if name == "img2img":  # what was fetched is what was made
        told = [line for line in example.lines if line.endswith("inverted: True")]
        assert len({line.split()[1] for line in told}) == 6, example
