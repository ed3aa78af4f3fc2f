"""What goes with a graph reaches the server, and keys for partner nodes are nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from everfold.client import Everfold
from everfold.streams.border.secrets import Secret
from everfold.streams.redis.redis_errors import command
from tests.support.programs.stack import Comfy, Stack, sleeper
from tests.support.stored_names import names_like

pytestmark = pytest.mark.anyio

KEY = "comfyui-SECRET-0123456789abcdef"
UI = {"workflow": {"nodes": [1], "links": []}}
KEYS = {"api_key_comfy_org": Secret(KEY)}


async def row(comfy: Comfy) -> dict[str, object]:
    """Return what the simulator was sent last."""
    async with httpx.AsyncClient() as client:
        rows = (await client.get(f"{comfy.url}/simulator/ledger")).json()
    return dict(rows[-1])


async def everything(stack: Stack) -> str:
    """Return all that the server holds of the namespace."""
    redis, found = stack.log.redis, list[object]()
    for name in await names_like(redis, f"*{stack.log.keys.namespace}*"):
        kind = str(await command(redis, "TYPE", name))
        read = {"hash": ("HGETALL",), "stream": ("XRANGE", "-", "+"), "string": ("GET",)}
        word = next((word for word in read if word in kind), "")
        if word:
            first, *rest = read[word]
            found.append((name, await command(redis, first, name, *rest)))
    return repr(found)


@pytest.mark.parametrize("options", [(), ("--old",)], ids=["newer", "old"])
async def test_extra_data_and_keys_reach_the_server_and_the_log_has_no_key(
    stack: Stack, tmp_path: Path, options: tuple[str, ...]
) -> None:
    comfy = await stack.comfy(*options)
    runner = await stack.runner(comfy)
    extra = {"extra_pnginfo": UI, "preview_method": "auto", "partial_execution_targets": ["3"]}
    made = await stack.log.submit(sleeper(0.5), extra_data=extra, partner_keys=KEYS)
    await stack.until(made.job_id, "running")
    assert KEY in await everything(stack)
    job = await stack.until(made.job_id, "succeeded")
    sent = await row(comfy)
    assert sent["partner_keys"] == ["api_key_comfy_org"]
    assert sent["extra_data"] == {
        "extra_pnginfo": UI,
        "preview_method": "auto",
        "client_id": job.client_id,
        "everfold": {"job_id": made.job_id, "attempt": 1},
    }
    assert job.partner_keys == ("api_key_comfy_org",)
    assert KEY not in await everything(stack)
    assert KEY not in str(runner)
    assert KEY not in json.dumps(sent)


async def test_a_node_that_repeats_a_key_is_not_recorded_with_it(stack: Stack) -> None:
    comfy = await stack.comfy()
    runner = await stack.runner(comfy)
    graph = sleeper(0.1)
    given = {"image": ["1", 0], "message": f"bad key {KEY}", "seconds": 0.1}
    failing = {"class_type": "JTRaise", "inputs": given}
    made = await stack.log.submit({**graph, "2": failing}, partner_keys=KEYS)
    job = await stack.ended(made.job_id)
    assert job.error is not None
    assert "bad key ***" in job.error.message
    events = await stack.event_text(made.job_id)
    assert KEY not in events
    assert KEY not in str(runner)


async def test_a_job_whose_keys_are_gone_fails_with_a_reason_of_its_own(stack: Stack) -> None:
    made = await stack.log.submit(sleeper(0.1), partner_keys=KEYS)
    for name in await names_like(stack.log.redis, f"*{stack.log.keys.namespace}*partner_keys*"):
        await command(stack.log.redis, "DEL", name)
    await stack.runner(await stack.comfy())
    job = await stack.ended(made.job_id)
    assert job.error is not None
    assert (job.status, job.error.code) == ("failed", "partner_keys_expired")
    assert "api_key_comfy_org" in job.error.message


async def test_a_waiting_job_that_is_canceled_loses_its_keys(stack: Stack) -> None:
    made = await stack.log.submit(sleeper(0.1), partner_keys=KEYS)
    async with Everfold.connect(stack.redis_url, namespace=stack.log.keys.namespace) as everfold:
        assert (await everfold.cancel(made.job_id)).status == "canceled"
    assert KEY not in await everything(stack)
