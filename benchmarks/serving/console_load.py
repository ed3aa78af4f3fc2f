"""The load of `benchmarks console`: jobs that come, run with progress and end, EVENTS a second.

    python -m benchmarks.serving.console_load REDIS_URL NAMESPACE

It stands for all runners of a farm, and appends what those would. It runs until its input ends,
then it prints how many events a second it has appended. It is a process of its own, so that what it
costs does not delay the one that measures.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count

import anyio
from msgspec import Struct

from everfold import Everfold, SubmittedJob
from everfold.streams.appending.many.appends import ToAppend, append_all
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import EverfoldError
from everfold.streams.events.event import (
    Event,
    Progressed,
    Queued,
    Started,
    Submitting,
    Succeeded,
)
from everfold.streams.leases.dispatch import Dispatch

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
QUEUE = "load"
EVENTS = 500
EVERY_S = 0.2
STEPS = 15
"""Events of progress of one job."""
EVENTS_OF_JOB = STEPS + 6
JOBS = round(EVENTS * EVERY_S / EVENTS_OF_JOB)
"""That begin at each turn; as many end, and each that is held has one event of progress."""
SERVERS = 100
RENEW_EVERY_S = 2.0
FILE = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}


class Run(Struct):
    """A job that is held, and what of it is told."""

    lease: Lease
    backend: str
    step: int = 0

    def next_events(self) -> list[Event]:
        """Return what its server has done since the last turn."""
        self.step += 1
        if self.step == 1:
            number = str(self.lease.seq)
            intent = Submitting(
                attempt=1, backend=self.backend, boot="boot-1", prompt_id=number, client_id="load"
            )
            return [intent, Queued(attempt=1, prompt_id=number), Started(attempt=1)]
        if self.step > STEPS + 1:
            return [Succeeded(attempt=1, outputs={"9": {"images": [FILE]}})]
        return [
            Progressed(
                attempt=1,
                value=0.99 * (self.step - 1) / STEPS,
                nodes_done=2,
                nodes_total=7,
                node="3",
                node_class="KSampler",
                step=self.step - 1,
                steps=STEPS,
                left_s=max(1, round((STEPS + 2 - self.step) * EVERY_S)),
            )
        ]

    @property
    def is_over(self) -> bool:
        return self.step > STEPS + 1


class Load:
    """All runners of a farm."""

    def __init__(self, ours: Everfold) -> None:
        self._ours, self._dispatch = ours, Dispatch(ours.log, "load")
        self._runs: list[Run] = []
        self._servers = count()
        self._renewed_at_s = time.monotonic()
        self.appended = 0

    async def bring(self) -> None:
        """Submit some jobs, and take them."""
        made = await self._ours.submit_many([GRAPH] * JOBS, queue=QUEUE, user="load",
                                            kind="portrait", validate=False)  # fmt: skip
        ids = [one.job_id for one in made if isinstance(one, SubmittedJob)]
        self.appended += len(ids)
        async with anyio.create_task_group() as tasks:
            for partition, number in Counter(map(self._ours.log.keys.partition_of, ids)).items():
                tasks.start_soon(self._claim, partition, number)

    async def _claim(self, partition: int, number: int) -> None:
        leases = await self._dispatch.claim(partition, [QUEUE], number)
        self.appended += len(leases)
        self._runs += [
            Run(one, f"http://gpu-{next(self._servers) % SERVERS}:8188") for one in leases
        ]

    async def go_on(self) -> None:
        """Append what the servers of all jobs that are held have done."""
        runs = self._runs
        told = [ToAppend(job_id=run.lease.job_id, event=event, epoch=run.lease.epoch,
                         holder=run.lease.runner)
                for run in runs for event in run.next_events()]  # fmt: skip
        found = await append_all(self._ours.log, told)
        self.appended += sum(not isinstance(one, EverfoldError) for one in found)
        self._runs = [run for run in self._runs if not run.is_over]
        if time.monotonic() - self._renewed_at_s > RENEW_EVERY_S:
            self._renewed_at_s = time.monotonic()
            await self._dispatch.renew([run.lease for run in self._runs])


async def _again_and_again(turn: Callable[[], Awaitable[None]]) -> None:
    due = time.monotonic()
    while True:
        await turn()
        # What is late is made up for, but not what is late by more than a second.
        due = max(due + EVERY_S, time.monotonic() - 1)
        await anyio.sleep(max(0.0, due - time.monotonic()))


async def load(url: str, namespace: str) -> float:
    """Append until the input ends, and return the events a second."""
    async with Everfold.connect(url, namespace=namespace) as ours, anyio.create_task_group() as all:
        made, begun = Load(ours), time.monotonic()
        print("ready", flush=True)
        all.start_soon(_again_and_again, made.bring)
        all.start_soon(_again_and_again, made.go_on)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        all.cancel_scope.cancel()
    return made.appended / (time.monotonic() - begun)


if __name__ == "__main__":
    print(round(anyio.run(load, sys.argv[1], sys.argv[2])), flush=True)
