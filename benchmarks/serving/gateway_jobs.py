"""The process that stands for a runner of `gateway`: it takes all jobs and tells what they do.

It obeys lines: `move SECONDS` appends UPDATES_PER_S of progress a second to each job, `end JOB`
ends one. Each answer is a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time

import anyio

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.events.event import Event, Progressed, Queued, Started, Submitting, Succeeded
from everfold.streams.leases.dispatch import Dispatch

UPDATES_PER_S = 2.0
FILE = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}


class Jobs:
    def __init__(self, log: Log, leases: list[Lease]) -> None:
        self._log, self._leases = log, leases
        self._sent = 0

    async def begin(self) -> None:
        for lease in self._leases:
            intent = Submitting(
                attempt=1, prompt_id="p", client_id="c", backend="http://gpu:8188", boot="boot-1"
            )
            for event in (intent, Queued(attempt=1, prompt_id="p"), Started(attempt=1)):
                await self._append(lease, event)

    async def move(self, seconds: float) -> dict[str, float]:
        """Append progress to each job; all at another moment of the half second."""
        self._sent = 0
        async with anyio.create_task_group() as tasks:
            for number, lease in enumerate(self._leases):
                tasks.start_soon(self._move, lease, seconds, number / len(self._leases))
        return {"events": self._sent}

    async def end(self, job_id: str) -> dict[str, float]:
        """End one job; return when that began, and when it was acknowledged."""
        [lease] = [one for one in self._leases if one.job_id == job_id]
        began_s = time.time()
        await self._append(lease, Succeeded(attempt=1, outputs={"9": {"images": [FILE]}}))
        return {"began_s": began_s, "acknowledged_s": time.time()}

    async def _move(self, lease: Lease, seconds: float, offset: float) -> None:
        due_s, steps = anyio.current_time() + offset / UPDATES_PER_S, int(seconds * UPDATES_PER_S)
        for step in range(steps):
            await anyio.sleep(max(0.0, due_s - anyio.current_time()))
            due_s += 1 / UPDATES_PER_S
            at = {"node": "3", "node_class": "KSampler", "step": step, "steps": steps}
            value = 0.98 * (step + 1) / steps
            await self._append(
                lease,
                Progressed(attempt=1, value=value, nodes_done=2, nodes_total=7, left_s=9, **at),  # type: ignore[arg-type]
            )
            self._sent += 1

    async def _append(self, lease: Lease, event: Event) -> None:
        await self._log.append(lease.job_id, event, epoch=lease.epoch, holder=lease.runner)


async def main(url: str, namespace: str, count: int) -> None:
    async with Log.open(url, namespace=namespace, actor="bench") as log:
        dispatch, leases = Dispatch(log, "bench"), list[Lease]()
        for partition in range(log.keys.partitions):
            leases += await dispatch.claim(partition, ["default"], count)
        # Ids grow with the time: the first ones are those that are watched.
        jobs = Jobs(log, sorted(leases, key=lambda lease: lease.job_id)[:count])
        await jobs.begin()
        print(json.dumps({"jobs": len(leases)}), flush=True)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            words = line.split()
            doing = jobs.move(float(words[1])) if words[0] == "move" else jobs.end(words[1])
            answer = await doing
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
