"""One runner with default settings: redis url, namespace, name, backends."""

from __future__ import annotations

import sys

import anyio

from everfold.runner.comfyui.backend import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log


async def main(redis_url: str, namespace: str, name: str, *backends: str) -> None:
    async with Log.open(redis_url, namespace=namespace, actor=name) as log:
        runner = Runner(log, [ComfyBackend(url) for url in backends], RunnerConfig(name=name))
        async with anyio.create_task_group() as tasks:
            await tasks.start(runner.run)
            print("ready", flush=True)


anyio.run(lambda: main(*sys.argv[1:]))
