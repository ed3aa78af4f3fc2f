"""One runner with default settings: redis url, namespace, name, queues, backends.

It says `ready`, and on SIGUSR1 how often its event loop was more than LATE_S late, the most in ms,
and how often it was looked at.
"""

from __future__ import annotations

import signal
import sys
import time

import anyio

from everfold.commands.process.long_run import in_long_run
from everfold.runner.comfyui.backend import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log

PROBE_S, LATE_S = 0.005, 0.02


async def main(redis_url: str, namespace: str, name: str, queues: str, *backends: str) -> int:
    async with Log.open(redis_url, namespace=namespace, actor=name) as log:
        config = RunnerConfig(name=name, queues=tuple(queues.split(",")))
        runner = Runner(log, [ComfyBackend(url) for url in backends], config)
        async with anyio.create_task_group() as tasks:
            await tasks.start(runner.run)
            lags = list[float]()
            tasks.start_soon(_tell, lags)
            print("ready", flush=True)
            await _probe(lags)
    return 0


async def _probe(lags: list[float]) -> None:
    """Keep by how much each short sleep was too long, and how much of it this process worked."""
    while True:
        began_s, worked_s = time.monotonic(), time.process_time()
        await anyio.sleep(PROBE_S)
        late_s = time.monotonic() - began_s - PROBE_S
        # A machine that gives the processor to others is late, too; that is no block.
        lags.append(min(late_s, time.process_time() - worked_s))


async def _tell(lags: list[float]) -> None:
    with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
        async for _ in signals:
            late = sum(lag > LATE_S for lag in lags)
            print(f"{late} {max(lags, default=0.0) * 1000:.1f} {len(lags)}", flush=True)


in_long_run(lambda: main(*sys.argv[1:]))
