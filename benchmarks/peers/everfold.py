"""Everfold with a backend that does nothing: the real runner, or the real projector.

All else is default but the slots: two are meant for a server with one graphics card, and the
peers work on many jobs at once too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.peers.no_op import NoOpBackend, graph
from benchmarks.peers.program import SendAsync, redis_url, run
from everfold.commands.process.long_run import in_long_run
from everfold.runner.config import RunnerConfig, runner_name
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log

SLOTS = 16
"""As many as streaQ's default, the nearest of the peers."""
NAMESPACE = "everfold"


@asynccontextmanager
async def sending() -> AsyncIterator[SendAsync]:
    async with Log.open(redis_url(), namespace=NAMESPACE, actor="bench") as log:

        async def send(job: str, sent_ns: int) -> None:
            await log.submit(graph(job, sent_ns))

        yield send


async def _work() -> int:
    config = RunnerConfig(name=runner_name("bench"), slots=SLOTS)
    async with Log.open(redis_url(), namespace=NAMESPACE, actor=config.name) as log:
        await Runner(log, [NoOpBackend()], config, make_backend=lambda _: NoOpBackend()).run()
    return 0


def project() -> None:
    """Become the projector of Everfold's own command line."""
    os.environ["REDIS_URL"], os.environ["EVERFOLD_NAMESPACE"] = redis_url(), NAMESPACE
    os.execv(sys.executable, [sys.executable, "-m", "everfold", "projector"])


if __name__ == "__main__":
    if sys.argv[1] == "project":
        project()
    run(sending, lambda: in_long_run(_work))
