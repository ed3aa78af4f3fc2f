"""A runner, a projector, a custom projection and a consumer that live while keys are damaged."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import anyio
from msgspec import json

from everfold.projector.folding.custom_projection import Projection
from everfold.projector.job.job import Job
from everfold.projector.projector import Projector
from everfold.projector.reading.queries import current, list_jobs
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import Subscription
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log
from everfold.streams.events.record import Recorded
from tests.support.looks import Look
from tests.support.programs.programs import StartProgram
from tests.support.wait import eventually
from tests.survival.keys.kinds import PROJECTION, SUBSCRIPTION

DOCUMENTED = (0, 1, 2, 3)
"""Exit codes; 4 would say that the server is away."""


def graph(color: int) -> dict[str, object]:
    """Return a graph that no other job has."""
    image = {"width": 16, "height": 16, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "k"}},
    }


def _count(state: int | None, job: Job, record: Recorded) -> int:
    return (state or 0) + 1


class Living:
    def __init__(self, log: Log) -> None:
        self.log = log
        self.told = Counter[str]()
        """Job -> how often its end was delivered."""

    async def note(self, delivery: Delivery) -> None:
        self.told[delivery.record.job_id] += 1

    async def all_end(self, jobs: Sequence[str], within_s: float = 90.0) -> None:
        """Wait until all jobs have succeeded, are listed so, and a consumer was told."""
        left = set(jobs)

        async def ended() -> bool:
            if not all(self.told[job_id] for job_id in left):
                return False
            page = await list_jobs(self.log, statuses=["succeeded"], limit=1000)
            left.difference_update(job.job_id for job in page.jobs if self.told[job.job_id])
            return not left

        try:
            await eventually(ended, within_s)
        except AssertionError:
            rows = [await self._row(job_id) for job_id in sorted(left)[:5]]
            raise AssertionError(f"{len(left)} jobs did not end, as {rows}") from None

    async def _row(self, job_id: str) -> str:
        job, partition = await current(self.log, job_id), self.log.keys.partition_of(job_id)
        told = f"told {self.told[job_id]} times"
        return f"{job_id} of partition {partition}: {job.status} {job.reason}, {told}"


@contextlib.asynccontextmanager
async def living(url: str, namespace: str, backend: str) -> AsyncIterator[Living]:
    """Let the processes live, as tasks, while the context is open."""
    name = "lively"
    async with Log.open(url, namespace=namespace, actor=name) as log:
        live = Living(log)
        config = RunnerConfig(name=name, slots=8, sweep_every_s=0.2, poll_every_s=0.2)
        counting = Projection(
            name=PROJECTION, state=int, key=lambda job, record: job.user, evolve=_count
        )
        subscription = Subscription(SUBSCRIPTION, types=["job.succeeded"])(live.note)
        runner = Runner(log, [ComfyBackend(backend)], config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.run)
            tasks.start_soon(Projector(log, name).run)
            tasks.start_soon(Projector(log, name, projection=counting).run)
            tasks.start_soon(Consumer(log, name, subscription).run)
            yield live
            tasks.cancel_scope.cancel()


READS = (
    *(["doctor"], ["doctor", "--json"], ["audit", "verify"], ["projector", "status"]),
    *(["jobs", "ls"], ["jobs", "ls", "--json", "--limit", "1000"], ["backends", "ls"]),
    *(["consumers", "ls"], ["consumers", "show", SUBSCRIPTION]),
    *(["consumers", "parked", SUBSCRIPTION], ["projector", "parked", "ls"]),
    *(["archive", "readers"], ["events"], ["upgrade"]),
)
"""Every command that reads what is stored, but those of one job."""


async def look_at_all(
    start: StartProgram,
    url: str,
    namespace: str,
    job_ids: Sequence[str],
    reads: Sequence[list[str]] = READS,
) -> list[Look]:
    """Run commands that read what is stored; return what each printed."""
    lines = [
        *reads,
        *(["jobs", "show", job_id] for job_id in job_ids),
        *(["events", job_id] for job_id in job_ids),
    ]
    names = {"REDIS_URL": url, "EVERFOLD_NAMESPACE": namespace}
    program = start("-m", "tests.support.looks", json.encode(lines).decode(), environ=names)
    assert await program.end(within_s=60) == 0, str(program)
    found = [json.decode(line, type=Look) for line in program.lines]
    program.close()
    for look in found:
        fell_over = look.trace or "Traceback" in look.printed
        assert not fell_over, f"{look.arguments}: {look.trace or look.printed}"
        assert look.code in DOCUMENTED, f"{look.arguments} ended with {look.code}: {look.printed}"
    return found
