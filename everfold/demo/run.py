"""The course of the demo: submit, cancel one, kill a runner, wait for the end, count."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx

from everfold.client import Everfold
from everfold.demo.jobs import demo_jobs
from everfold.demo.processes import DemoProcess, DemoProcesses
from everfold.demo.summary import Summary, summarize
from everfold.projector.job.job import Job
from everfold.streams.errors import Unavailable
from everfold.streams.events.event import Recovered
from everfold.streams.reading.reader import job_events

LIMIT_S = 60.0


class Demo:
    """`jobs` is what there is to be seen; `say` is called with each thing that happens."""

    def __init__(
        self, everfold: Everfold, processes: DemoProcesses, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._everfold = everfold
        self._processes = processes
        self._folder = folder
        self._say = say
        self._names: dict[str, str] = {}
        self._meant: dict[str, str] = {}
        self.jobs: list[Job] = []

    def name_of(self, job: Job) -> str:
        return self._names.get(job.job_id, job.job_id)

    async def run(self) -> Summary:
        started_s = time.monotonic()
        simulator = await self._processes.start(
            "simulator", "simulator", "--port", "0", "--output", str(self._folder / "images")
        )
        url = simulator.first_line.split()[-1]
        await self._processes.start("projector", "projector")
        runners = await self._start_runners(url)
        await self._submit()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            with anyio.fail_after(LIMIT_S):
                await self._cancel_one()
                recovery_s = await self._kill_one(runners)
                await self._until_all_ended()
            tasks.cancel_scope.cancel()
        images = list((self._folder / "images" / "output").glob("*.png"))
        return summarize(
            self.jobs,
            self._meant,
            await _ledger(url),
            recovery_s=recovery_s,
            images=len(images),
            outputs=str(self._folder / "images" / "output"),
            seconds=time.monotonic() - started_s,
        )

    async def _start_runners(self, url: str) -> list[DemoProcess]:
        found: list[DemoProcess] = []
        async with anyio.create_task_group() as tasks:

            async def start(name: str) -> None:
                arguments = ("runner", "--comfyui", url, "--name", name, "--drain", "0")
                found.append(await self._processes.start(name, *arguments))

            for name in ("anna", "bert"):
                tasks.start_soon(start, name)
        self._say("two runners, one projector, one simulator and one Redis are running")
        return found

    async def _submit(self) -> None:
        for job in demo_jobs():
            made = await self._everfold.submit(job.graph, kind="demo", user="you")
            self._names[made.job_id], self._meant[made.job_id] = job.name, job.meant_to
        self._say(f"{len(self._meant)} jobs submitted: all of them are in the log now")

    async def _look(self) -> None:
        while True:
            self.jobs = [await self._everfold.get(job_id) for job_id in self._meant]
            await anyio.sleep(0.15)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():  # noqa: ASYNC110 - looks at what `_look` reads twice a blink
            await anyio.sleep(0.05)

    async def _cancel_one(self) -> None:
        job_id = next(job_id for job_id, end in self._meant.items() if end == "canceled")
        await self._everfold.cancel(job_id, "changed my mind")
        self._say("one job canceled")

    async def _kill_one(self, runners: list[DemoProcess]) -> float:
        """Kill the runner of a job in mid-run; return how long it took until it went on."""
        await self._until(lambda: self._in_mid_run() is not None)
        victim_job = self._in_mid_run()
        assert victim_job is not None
        victim = next(r for r in runners if victim_job.owner.startswith(f"{r.role}-"))
        victim.kill()
        killed_ms = time.time() * 1000
        name = self.name_of(victim_job)
        self._say(f"runner {victim.role} killed with SIGKILL while it ran {name}")
        took_over_ms = await self._taken_over(victim_job.job_id)
        self._say(f"{name} goes on with the other runner after {took_over_ms - killed_ms:.0f} ms")
        return (took_over_ms - killed_ms) / 1000

    def _in_mid_run(self) -> Job | None:
        midst = (job for job in self.jobs if job.status == "running" and job.progress > 0.15)
        return next(midst, None)

    async def _taken_over(self, job_id: str) -> int:
        while True:
            for record in await job_events(self._everfold.log, job_id):
                if isinstance(record.event, Recovered):
                    return record.time_ms
            await anyio.sleep(0.05)

    async def _until_all_ended(self) -> None:
        await self._until(lambda: bool(self.jobs) and all(job.is_terminal for job in self.jobs))


async def _ledger(url: str) -> list[dict[str, object]]:
    try:
        async with httpx.AsyncClient() as client:
            rows: list[dict[str, object]] = (await client.get(f"{url}/simulator/ledger")).json()
    except httpx.HTTPError as error:
        raise Unavailable(f"the simulator's ledger cannot be read: {error}") from error
    return rows
