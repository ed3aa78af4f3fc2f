"""`everfold doctor` names the jobs that a backend keeps waiting."""

from __future__ import annotations

import pytest

from everfold.client import Everfold
from everfold.diagnosis.held_jobs import keeping_backends
from everfold.projector.reading.watching import Watcher
from everfold.streams.events.event import Policy
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_the_jobs_of_a_silent_and_of_a_retired_backend_are_named(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.projector()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=30, policy=Policy(backend_away_s=None))
    await stack.until(job_id, "running")

    async def seen() -> bool:
        return bool(await Everfold(stack.log, Watcher(stack.log)).backends())

    await eventually(seen, 10)
    assert await keeping_backends(stack.log) == []
    comfy.kill()

    async def kept() -> list[str]:
        return [one.found for one in await keeping_backends(stack.log)]

    (found,) = await eventually(kept, 30)
    assert "no runner has reached it for" in found
    assert job_id in found
    client = Everfold(stack.log, Watcher(stack.log))
    await client.retire_backend(comfy.url)
    (found,) = await kept()
    assert found.startswith("retired by client, no runner has reached it for")
