"""The adapter against the bundled simulator: whole runs, from submit to outputs."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import PIPE
from uuid import uuid4

import anyio
import httpx
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from everfold.runner.backend import (
    Absent,
    Attempt,
    Ended,
    OutputBody,
    Pending,
    Progress,
    Running,
    SubmitOutcome,
    Truth,
    Unreachable,
)
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.decisions.output_files import file_of
from tests.comfyui.recordings.story import name_outcome, name_truth
from tests.simulator.graphs import Graph, default_graph, image_to_image
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

WORKFLOWS = Path(__file__).parents[2] / "data" / "workflows"


TOLD_WITHIN_S = 2.0
"""HTTP may overtake the socket on a busy machine."""


class Run:
    """One attempt, followed to its end."""

    def __init__(self, backend: ComfyBackend, workflow: str | Graph) -> None:
        self.backend = backend
        self.workflow = (
            (WORKFLOWS / f"{workflow}.json").read_bytes()
            if isinstance(workflow, str)
            else json.dumps(workflow).encode()
        )
        self.attempt = Attempt(
            job_id="job-1", number=1, prompt_id=str(uuid4()), client_id=uuid4().hex
        )
        self.boot = ""
        self.outcome: SubmitOutcome | None = None
        self.truth: Truth = Unreachable("not asked")
        self.progress: list[Progress] = []
        self.saved: set[str] = set()

    async def submit(self) -> SubmitOutcome:
        boot = await self.backend.boot()
        assert isinstance(boot, str)
        self.boot = boot
        self.outcome = await self.backend.submit(self.attempt, self.workflow, lambda: True)
        return self.outcome

    async def ask(self) -> Truth:
        self.truth = await self.backend.truth(self.attempt.prompt_id, self.boot)
        return self.truth

    async def follow(self, *, cancel_when_running: bool = False) -> Truth:
        """Submit, watch, and return the truth when it is over, and the socket has told that too,
        or has had TOLD_WITHIN_S for it."""
        is_told, told_by_s = False, math.inf
        async with self.backend.observe(self.attempt, self.workflow) as observation:
            await self.submit()
            with anyio.fail_after(60):
                while True:
                    sighting = await observation.next(0.2)
                    self.saved |= {saved.node for saved in sighting.saved}
                    self.progress += [sighting.progress] if sighting.progress else []
                    is_told = is_told or sighting.is_over
                    truth = await self.ask()
                    if cancel_when_running and sighting.started and isinstance(truth, Running):
                        await self.backend.cancel(self.attempt)
                    now_s = anyio.current_time()
                    if isinstance(truth, Ended):
                        told_by_s = min(told_by_s, now_s + TOLD_WITHIN_S)
                    if isinstance(truth, Absent) or now_s >= told_by_s:
                        return truth
                    if isinstance(truth, Ended) and is_told:
                        return truth


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a simulator in a process of its own, ten times as fast as told."""
    command = [sys.executable, "-m", "everfold.simulator", "--port", "0", "--speed", "10"]
    async with await anyio.open_process(
        [*command, "--output", str(tmp_path)], stdout=PIPE, stderr=None
    ) as process:
        yield await _listening_url(process)
        if process.returncode is None:
            process.terminate()


async def _listening_url(process: Process) -> str:
    assert process.stdout is not None
    printed = ""
    with anyio.fail_after(20):
        async for text in TextReceiveStream(process.stdout):
            printed += text
            if found := re.search(r"listening on (\S+)", printed):
                return found[1]
    raise AssertionError(f"the simulator did not start: {printed!r}")


@pytest.fixture
async def backend(simulator: str) -> AsyncIterator[ComfyBackend]:
    backend = ComfyBackend(simulator)
    yield backend
    await backend.aclose()


@pytest.mark.parametrize(
    ("workflow", "outcome", "truth"),
    [
        ("fast_success", "accepted", "succeeded"),
        ("slow_core", "accepted", "succeeded"),
        ("slow_progress", "accepted", "succeeded"),
        ("preview_temp", "accepted", "succeeded"),
        ("multi_outputs", "accepted", "succeeded"),
        ("ws_image_progress", "accepted", "succeeded"),
        ("big_ui", "accepted", "succeeded"),
        ("cached", "accepted", "succeeded"),
        ("default_graph", "accepted", "succeeded"),
        ("trap_orphan_bad_link", "accepted", "succeeded"),
        ("partially_valid", "accepted, 1 problems", "succeeded"),
        ("exec_error", "accepted", "failed, execution_error"),
        ("exec_error_core", "accepted", "failed, execution_error"),
        ("exec_oom", "accepted", "failed, out_of_memory"),
        ("invalid_missing_ckpt", "rejected, invalid_workflow", "absent, same boot"),
        ("invalid_missing_input", "rejected, invalid_workflow", "absent, same boot"),
        ("invalid_no_outputs", "rejected, invalid_workflow", "absent, same boot"),
        ("invalid_unknown_node", "rejected, invalid_workflow", "absent, same boot"),
    ],
)
async def test_a_workflow_ends_as_its_name_says(
    workflow: str, outcome: str, truth: str, backend: ComfyBackend
) -> None:
    run = Run(backend, workflow)
    await run.follow()
    assert run.outcome is not None
    assert (name_outcome(run.outcome), name_truth(run.truth)) == (outcome, truth)
    values = [progress.value for progress in run.progress]
    assert values == sorted(values)


@pytest.mark.parametrize("workflow", ["long_interruptible", "long_deaf"])
async def test_a_cancel_interrupts_what_runs(workflow: str, backend: ComfyBackend) -> None:
    run = Run(backend, workflow)
    assert name_truth(await run.follow(cancel_when_running=True)) == "interrupted"


async def test_a_second_run_of_the_same_graph_is_reused(backend: ComfyBackend) -> None:
    first, second = Run(backend, "cached"), Run(backend, "cached")
    assert name_truth(await first.follow()) == "succeeded"
    assert name_truth(await second.follow()) == "succeeded, reused"
    assert isinstance(first.truth, Ended)
    assert isinstance(second.truth, Ended)
    assert first.truth.outputs == second.truth.outputs


async def test_saved_outputs_can_be_downloaded(backend: ComfyBackend) -> None:
    run = Run(backend, "fast_success")
    truth = await run.follow()
    assert isinstance(truth, Ended)
    assert run.saved == {"4"}
    assert (await saved_picture(backend, truth, "4")).startswith(b"\x89PNG")


async def test_each_step_of_the_default_graph_s_sampler_is_progress(backend: ComfyBackend) -> None:
    run = Run(backend, default_graph(steps=10))
    truth = await run.follow()
    assert name_truth(truth) == "succeeded"
    assert isinstance(truth, Ended)
    saved = {"filename": "ComfyUI_00001_.png", "subfolder": "", "type": "output"}
    assert truth.outputs == {"9": {"images": [saved]}}
    assert run.progress[-1].nodes_total == 7
    assert len({progress.value for progress in run.progress}) > 5


async def test_an_uploaded_picture_is_the_input_of_a_graph(backend: ComfyBackend) -> None:
    before = Run(backend, image_to_image("missing.png", denoise=0.5))
    assert name_outcome(await before.submit()) == "rejected, invalid_workflow"
    picture = await saved_picture(backend, await Run(backend, "fast_success").follow(), "4")
    await backend.http.upload("in.png", picture, kind="input", subfolder="")

    run = Run(backend, image_to_image("in.png", denoise=0.5))
    truth = await run.follow()

    assert name_truth(truth) == "succeeded"
    assert await saved_picture(backend, truth, "9") != picture


async def saved_picture(backend: ComfyBackend, truth: Truth, node: str) -> bytes:
    assert isinstance(truth, Ended)
    images = truth.outputs[node]["images"]
    assert isinstance(images, list)
    boot = await backend.boot()
    assert isinstance(boot, str)
    async with backend.open_output(file_of(images[0]), boot) as answer:
        assert isinstance(answer, OutputBody)
        return b"".join([chunk async for chunk in answer.chunks])


async def test_a_prompt_number_that_falls_tells_a_restart_that_left_its_temp_folder(
    simulator: str, backend: ComfyBackend
) -> None:
    first, second = Run(backend, "long_interruptible"), Run(backend, "fast_success")
    await second.follow()
    await first.submit()
    async with httpx.AsyncClient() as client:
        fault = {"fault": "restart_empty", "seconds": 0, "keep_temp": True}
        await client.post(f"{simulator}/simulator/faults", json=fault)

    async def gone() -> bool:
        return not isinstance(await first.ask(), Running | Pending | Unreachable)

    await eventually(gone)
    assert first.truth == Absent(same_boot=True), "the marker alone is fooled"
    await Run(backend, "fast_success").submit()
    assert await first.ask() == Absent(same_boot=False)
    boot = await backend.boot()
    assert isinstance(boot, str)
    assert boot != first.boot
