"""A runner inside your application's process, beside its other tasks.

Needs REDIS_URL (or `everfold up` on this machine) and COMFYUI_URL.
"""

from __future__ import annotations

import os

import anyio

from everfold import ComfyBackend, Everfold, Log, Runner, RunnerConfig, find_server, runner_name
from examples.workflow import small_picture


async def main() -> None:
    config = RunnerConfig(name=runner_name("app"), drain_s=5)
    comfyui = ComfyBackend(os.environ.get("COMFYUI_URL", "http://127.0.0.1:8188"))
    # The connection carries the runner's name: other runners see by it that this one is alive.
    async with (
        Log.open(find_server(), actor=config.name) as log,
        anyio.create_task_group() as tasks,
    ):
        runner = Runner(log, [comfyui], config)
        await tasks.start(runner.run)
        async with Everfold.connect() as everfold:
            made = await everfold.submit(small_picture(color=0x119911))
            job = await everfold.wait(made.job_id, timeout_s=60)
            print(job.status, "by", config.name)
        runner.drain()


if __name__ == "__main__":
    anyio.run(main)
