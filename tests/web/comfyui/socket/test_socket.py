"""The websocket before a real gateway, runner and simulator."""

from __future__ import annotations

import pytest

from tests.support.stack import sleeper
from tests.web.comfyui.socket.client import connected
from tests.web.site import Site

pytestmark = pytest.mark.anyio


async def submitted(site: Site, client_id: str, seconds: float = 0.5) -> str:
    job = await site.everfold.submit(sleeper(seconds), metadata={"client_id": client_id})
    return job.job_id


async def test_a_whole_run_is_told_in_comfyui_s_order(site: Site) -> None:
    await site.stack.runner(await site.stack.comfy())
    async with connected(site.url, "ada") as client:
        job_id = await submitted(site, "ada")
        await client.until_over()

    assert client.messages[0] == (
        "status",
        {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "ada"},
    )
    assert client.kinds == [
        "execution_start",
        "execution_cached",
        "executing 1",
        "executing 2",
        "executing 3",
        "executed",
        "execution_success",
        "executing None",
    ]
    remaining = [data["status"]["exec_info"]["queue_remaining"] for data in client.of("status")]
    assert remaining == [0, 1, 1, 0]
    kinds = [kind for kind, _ in client.messages]
    assert kinds[2:5] == ["status", "execution_start", "execution_cached"]
    assert kinds[-3:] == ["execution_success", "status", "executing"]
    (executed,) = client.of("executed")
    assert executed["output"]["images"][0]["subfolder"] == job_id
    values = [data["value"] for data in client.of("progress")]
    assert len(values) >= 3
    assert values == sorted(values)
    states = client.of("progress_state")[-1]["nodes"]
    assert {node["state"] for node in states.values()} == {"finished"}
    assert all(data["prompt_id"] == job_id for kind, data in client.messages if kind != "status")
