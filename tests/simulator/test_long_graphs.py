"""Graphs of hundreds of nodes in a row, as people make them, run in no time."""

from __future__ import annotations

import anyio
import pytest

from tests.simulator.client import Client

pytestmark = pytest.mark.anyio


def chain(length: int) -> dict[str, object]:
    size = {"width": 8, "height": 8, "batch_size": 1, "color": 7}
    nodes: dict[str, object] = {"0": {"class_type": "EmptyImage", "inputs": size}}
    for number in range(1, length):
        inputs = {"image": [str(number - 1), 0]}
        nodes[str(number)] = {"class_type": "ImageInvert", "inputs": inputs}
    shown = {"images": [str(length - 1), 0]}
    return {**nodes, "end": {"class_type": "PreviewImage", "inputs": shown}}


async def test_three_hundred_nodes_in_a_row_run_and_the_second_time_from_the_cache(
    comfy: Client,
) -> None:
    for cached in (0, 301):
        with anyio.fail_after(20):
            answer = await comfy.post(chain(300))
            prompt_id = str(answer.json()["prompt_id"])
            history = await comfy.until_in_history(prompt_id)
        status = history["status"]
        assert isinstance(status, dict)
        assert status["status_str"] == "success"
        told = dict(status["messages"])
        assert len(told["execution_cached"]["nodes"]) == cached
