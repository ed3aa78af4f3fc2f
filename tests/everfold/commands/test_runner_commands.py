"""`everfold runners` as people meet it: who runs, and an end from afar."""

from __future__ import annotations

import pytest

from everfold.commands.session import operator_name
from everfold.simulator import simulate
from tests.everfold.running import Everfold, ended, objects

pytestmark = pytest.mark.anyio


async def test_a_runner_is_listed_drained_and_gone(everfold: Everfold) -> None:
    async with simulate() as comfy:
        runner = everfold("runner", "--name", "gpu1", "--no-thumbnails", COMFYUI_URL=comfy.url)
        await runner.line("serves default", within_s=20)
        await runner.line("takes jobs", within_s=20)
        rows = await objects(everfold("runners", "ls", "--json"))
        name = str(rows[0]["name"])
        lines = await ended(everfold("runners", "ls"))
        assert max(map(len, lines)) <= 100
        wrong = everfold("runners", "drain", f"{name}x")
        await ended(wrong, 3)
        assert f"did you mean {name}?" in "".join(wrong.error_lines)
        assert await ended(everfold("runners", "drain", name, "--wait")) == [f"{name} has ended"]
        assert await runner.end(within_s=10) == 0
        assert any(operator_name() in line for line in runner.error_lines)
    assert await ended(everfold("runners", "ls")) == ["no runner is registered"]
