"""A namespace that is used, behind the gateway that is fuzzed."""

from __future__ import annotations

import pytest

from everfold import Everfold
from tests.support.programs.stack import Stack, sleeper


@pytest.fixture
async def known(everfold: Everfold, stack: Stack) -> list[str]:
    """Ids of jobs in different states, behind which a runner, a server and a projector work."""
    await stack.runner(await stack.comfy())
    await stack.projector()
    done = (await everfold.submit(sleeper(0.1), policy={"outputs": "collect"})).job_id
    await stack.until(done, "succeeded")
    canceled = (await everfold.submit(sleeper(1))).job_id
    await everfold.cancel(canceled)
    waiting = (await everfold.submit(sleeper(1), queue="nobody")).job_id
    files = [one.asset for one in await everfold.output_files(done) if one.asset]
    return [done, canceled, waiting, *files, "default", "nobody"]
