"""The course of the demo: submit, cancel one job, kill a runner and a ComfyUI, wait, count."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import anyio
import httpx

from everfold.client import Everfold
from everfold.demo.jobs import DemoJob, demo_jobs, landscape
from everfold.demo.processes import DemoProcess, DemoProcesses
from everfold.demo.summary import Summary, summarize
from everfold.projector.job.job import Job
from everfold.streams.errors import Unavailable
from everfold.streams.events.event import Policy, Recovered
from everfold.streams.reading.reader import job_events

LIMIT_S = 60.0

AWAY_S = 3.0
"""How long a ComfyUI that nobody reaches keeps its jobs here; the default is ten minutes."""


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
        comfys = await self._start_simulators()
        await self._processes.start("projector", "projector")
        runners = await self._start_runners(comfys)
        await self._submit_all()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            with anyio.fail_after(LIMIT_S):
                await self._cancel_one()
                recovery_s = await self._kill_one(runners)
                await self._lose_one(comfys)
                await self._until_all_ended()
            tasks.cancel_scope.cancel()
        images = list((self._folder / "images").glob("*/output/*.png"))
        return summarize(
            self.jobs,
            self._meant,
            [row for url in comfys for row in await _ledger(url)],
            recovery_s=recovery_s,
            images=len(images),
            outputs=str(self._folder / "images"),
            seconds=time.monotonic() - started_s,
        )

    async def _start_simulators(self) -> dict[str, DemoProcess]:
        """Return two simulators by URL."""
        found: dict[str, DemoProcess] = {}
        for name in ("one", "two"):
            folder = str(self._folder / "images" / name)
            made = await self._processes.start(
                f"ComfyUI {name}", "simulator", "--port", "0", "--output", folder
            )
            found[made.first_line.split()[-1]] = made
        return found

    async def _start_runners(self, comfys: Iterable[str]) -> list[DemoProcess]:
        served = [part for url in comfys for part in ("--comfyui", url)]
        found: list[DemoProcess] = []
        async with anyio.create_task_group() as tasks:

            async def start(name: str) -> None:
                arguments = ("runner", *served, "--name", name, "--drain", "0")
                found.append(await self._processes.start(name, *arguments))

            for name in ("anna", "bert"):
                tasks.start_soon(start, name)
        self._say("two runners, one projector, two simulated ComfyUI and one Redis are running")
        return found

    async def _submit(self, job: DemoJob) -> str:
        made = await self._everfold.submit(
            job.graph, kind="demo", user="you", policy=Policy(backend_away_s=AWAY_S)
        )
        self._names[made.job_id], self._meant[made.job_id] = job.name, job.meant_to
        return made.job_id

    async def _submit_all(self) -> None:
        for job in demo_jobs():
            await self._submit(job)
        self._say(f"{len(self._meant)} jobs submitted: all of them are in the log now")

    async def _look(self) -> None:
        while True:
            self.jobs = [await self._everfold.get(job_id) for job_id in list(self._meant)]
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

    def _in_mid_run(self, among: Collection[str] = ()) -> Job | None:
        midst = (job for job in self.jobs if job.status == "running" and job.progress > 0.15)
        return next((job for job in midst if not among or job.job_id in among), None)

    async def _lose_one(self, comfys: dict[str, DemoProcess]) -> None:
        """Kill the ComfyUI of a job in mid-run; it never comes back. Removes it from `comfys`."""
        job_id = await self._submit(landscape())
        await self._until(lambda: self._in_mid_run({job_id}) is not None)
        job = self._in_mid_run({job_id})
        assert job is not None
        victim = comfys.pop(job.backend)
        victim.kill()
        self._say(f"{victim.role} killed for good while it ran {self.name_of(job)}")
        await self._until(lambda: self._is_elsewhere(job))
        other = next(iter(comfys.values()))
        name = self.name_of(job)
        self._say(f"{name} begins anew at {other.role}: nobody reached the other for {AWAY_S:g} s")

    def _is_elsewhere(self, before: Job) -> bool:
        return any(
            job.job_id == before.job_id and job.attempt > before.attempt for job in self.jobs
        )

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
