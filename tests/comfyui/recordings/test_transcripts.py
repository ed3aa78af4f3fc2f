"""Every recorded session, replayed through the adapter, ends as this table says."""

from __future__ import annotations

import anyio
import pytest

from everfold.runner.backend import Accepted, Ended, Rejected
from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.recordings.expected import CANCELS, TABLE, Row
from tests.comfyui.recordings.recording import NAMES, Recording
from tests.comfyui.recordings.replay import Replay
from tests.comfyui.recordings.replay_server import ReplayServer
from tests.comfyui.recordings.story import Story, name_outcome

pytestmark = pytest.mark.anyio


async def replay(name: str, server: ReplayServer) -> dict[str, Story]:
    backend = ComfyBackend(server.url)
    try:
        with anyio.fail_after(30):
            return await Replay(Recording(name), server, backend).run()
    finally:
        await backend.aclose()


def as_row(prompt_id: str, story: Story) -> Row:
    last = story.progress[-1] if story.progress else None
    return Row(
        prompt_id[:8],
        " > ".join(map(name_outcome, story.submits)),
        " > ".join(story.truths),
        (round(last.value, 2), last.nodes_done, last.nodes_total, last.node_class)
        if last
        else None,
        " ".join(sorted(story.saved)),
    )


def test_the_table_leaves_no_recording_out() -> None:
    assert sorted(TABLE) == NAMES
    assert len(NAMES) == 38


@pytest.mark.parametrize("name", NAMES)
async def test_a_recording_ends_as_the_table_says(name: str, server: ReplayServer) -> None:
    stories = await replay(name, server)

    assert [as_row(*item) for item in stories.items()] == TABLE[name]
    assert server.cancels == CANCELS.get(name, [])
    for story in stories.values():
        values = [progress.value for progress in story.progress]
        assert values == sorted(values)
        assert not values or values[-1] <= 0.99
        assert story.started == bool(story.progress)
    for post in server.posts:
        assert "number" not in post
        assert post["extra_data"] == {"everfold": {"job_id": "job-1", "attempt": 1}}


async def test_outputs_saved_before_an_error_are_kept(server: ReplayServer) -> None:
    stories = await replay("execution-error", server)
    truth = next(iter(stories.values())).truth

    assert isinstance(truth, Ended)
    assert truth.outputs["2"]["images"] == [
        {"filename": "before_error_00001_.png", "subfolder": "", "type": "output"}
    ]
    assert truth.failure is not None
    assert truth.failure.message == "JTRaise (node 3) raised RuntimeError: boom from JTRaise"
    assert (truth.failure.node, truth.failure.node_class) == ("3", "JTRaise")
    assert truth.started_at_ms is not None
    assert truth.ended_at_ms is not None
    assert 400 < truth.ended_at_ms - truth.started_at_ms < 600


async def test_only_running_out_of_memory_is_retryable(server: ReplayServer) -> None:
    stories = await replay("execution-error", server)
    failures = [story.truth.failure for story in stories.values() if isinstance(story.truth, Ended)]

    assert [failure.retryable for failure in failures if failure] == [False, False, True]


async def test_a_rejection_names_the_node_the_input_and_the_complaint(
    server: ReplayServer,
) -> None:
    stories = await replay("validation-error", server)
    messages = [
        story.submits[0].failure.message
        for story in stories.values()
        if isinstance(story.submits[0], Rejected)
    ]

    assert messages[0] == (
        "ComfyUI rejected the workflow: "
        "ImageScale (node 2), input height: Value -5 smaller than min of 0; "
        "ImageScale (node 2), input upscale_method: Value not in list ('no-such-method' not in "
        "['nearest-exact', 'bilinear', 'area', 'bicubic', 'lanczos']); "
        "SaveImage (node 3), input filename_prefix: Required input is missing"
    )
    assert "Cannot execute because node NoSuchNode does not exist." in messages[1]
    assert "Prompt has no outputs" in messages[2]
    assert "input ckpt_name: Value not in list" in messages[3]


async def test_the_outputs_that_comfyui_dropped_are_named(server: ReplayServer) -> None:
    (story,) = (await replay("partially-valid", server)).values()
    accepted = story.submits[0]

    assert isinstance(accepted, Accepted)
    (problem,) = accepted.problems
    assert (problem.node, problem.node_class, problem.input) == (
        "3",
        "ImageScale",
        "upscale_method",
    )
    assert problem.code == "value_not_in_list"
