"""The course of the demo: two users and two unlike servers; a runner and a ComfyUI are killed.

Rule: what is told at the end is counted from the log and from the servers' own records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import anyio
import httpx

from everfold.client import Everfold
from everfold.demo.jobs import BLUR, DemoJob, demo_jobs, landscape
from everfold.demo.processes import DemoProcess, DemoProcesses
from everfold.demo.summary import Seen, Summary, job_of, summarize
from everfold.projector.job.job import Job
from everfold.streams.errors import Unavailable
from everfold.streams.events.event import Policy, Recovered
from everfold.streams.leases.registry import BEAT_EVERY_S
from everfold.streams.reading.reader import job_events

LIMIT_S = 60.0

AWAY_S = 3.0
"""How long a ComfyUI that nobody reaches keeps its jobs here; the default is ten minutes."""

SERVERS = {"fast": (), "slow": ("--speed", "0.6", "--without", BLUR)}
"""Options of each simulator, by its name."""

DRAINED_WITHIN_S = BEAT_EVERY_S + 0.5
"""All runners know by then that an operator drains a server."""


class Demo:
    """`jobs` is what there is to be seen; `say` is called with each thing that happens."""

    def __init__(
        self, everfold: Everfold, processes: DemoProcesses, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._everfold = everfold
        self._processes = processes
        self._folder = folder
        self._say = say
        self._demo_jobs: dict[str, DemoJob] = {}
        self._servers: dict[str, str] = {}
        """Address -> name, those that were killed too."""
        self._pictures = folder / "pictures"
        self.jobs: list[Job] = []

    def name_of(self, job: Job) -> str:
        return self._demo_jobs[job.job_id].name

    def server_of(self, job: Job) -> str:
        """Return the name of the ComfyUI that has the job, empty while none has."""
        return self._servers.get(job.backend, "")

    async def run(self) -> Summary:
        started_s = time.monotonic()
        comfys = await self._start_simulators()
        slow = next(url for url, name in self._servers.items() if name == "slow")
        await self._submit_all()
        await self._processes.start("projector", "projector")
        runners = await self._start_runners()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            with anyio.fail_after(LIMIT_S):
                await self._cancel_one()
                recovery_s = await self._kill_one(runners)
                while_drained = await self._drain(slow)
                ledger = [row for url in comfys for row in await read_ledger(url)]
                blurred_at = self._blurred_at()
                await self._lose_one(comfys)
                await self._until_all_ended()
            tasks.cancel_scope.cancel()
        seen = Seen(
            before_bob=self._before_bob(ledger),
            blurred=blurred_at.count("fast"),
            blurred_elsewhere=len(blurred_at) - blurred_at.count("fast"),
            while_drained=while_drained,
        )
        return summarize(
            self.jobs,
            {job_id: job.meant_to for job_id, job in self._demo_jobs.items()},
            [row for url in comfys for row in await read_ledger(url)],
            seen=seen,
            recovery_s=recovery_s,
            images=await self._save_pictures(),
            outputs=str(self._pictures),
            seconds=time.monotonic() - started_s,
        )

    async def _save_pictures(self) -> int:
        """Write the stored pictures of all jobs into one folder; return how many are there."""
        saved = [
            one
            for job in self.jobs
            for one in await self._everfold.save_outputs(job.job_id, self._pictures)
        ]
        return sum(one.is_there for one in saved)

    async def _start_simulators(self) -> dict[str, DemoProcess]:
        """Return two unlike simulators by URL."""
        found: dict[str, DemoProcess] = {}

        async def start(name: str) -> None:
            folder = str(self._folder / "images" / name)
            options = ("--port", "0", "--output", folder, *SERVERS[name])
            made = await self._processes.start(f"ComfyUI {name}", "simulator", *options)
            url = made.first_line.split()[-1]
            found[url], self._servers[url] = made, name

        async with anyio.create_task_group() as tasks:
            for name in SERVERS:
                tasks.start_soon(start, name)
        return found

    async def _start_runners(self) -> list[DemoProcess]:
        named = [f"{name}={url}" for url, name in self._servers.items()]
        served = [part for one in named for part in ("--comfyui", one)]
        found: list[DemoProcess] = []
        async with anyio.create_task_group() as tasks:

            async def start(name: str) -> None:
                arguments = ("runner", *served, "--name", name, "--drain", "0")
                found.append(await self._processes.start(name, *arguments))

            for name in ("anna", "bert"):
                tasks.start_soon(start, name)
        self._say("two runners, one projector, one Redis and two simulated ComfyUI run:")
        self._say(f"fast, and slow, which has no {BLUR}")
        return found

    async def _submit(self, job: DemoJob) -> str:
        made = await self._everfold.submit(
            job.graph, kind="demo", user=job.user, policy=Policy(backend_away_s=AWAY_S)
        )
        self._demo_jobs[made.job_id] = job
        return made.job_id

    async def _submit_all(self) -> None:
        for job in demo_jobs():
            last = await self._submit(job)
        ahead = await self._everfold.position(last)
        self._say(f"{len(self._demo_jobs)} jobs submitted: all of them are in the log now")
        self._say(f"the last one is bob's: {ahead} of ada's stands before it")

    async def _look(self) -> None:
        while True:
            self.jobs = [await self._everfold.get(job_id) for job_id in list(self._demo_jobs)]
            await anyio.sleep(0.15)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():  # noqa: ASYNC110 - looks at what `_look` reads twice a blink
            await anyio.sleep(0.05)

    async def _cancel_one(self) -> None:
        job_id = next(id for id, job in self._demo_jobs.items() if job.meant_to == "canceled")
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

    async def _drain(self, slow: str) -> int:
        """Drain the slow server until all jobs have ended; return how many were sent there."""
        await self._everfold.drain_backend(slow)
        self._say("slow drained: it ends what it has, and gets nothing new")
        before_s = time.time() + DRAINED_WITHIN_S
        await self._until_all_ended()
        sent = [row for row in await read_ledger(slow) if _second(row, "accepted_at") > before_s]
        await self._everfold.return_backend(slow)
        self._say("slow is back in service")
        return len(sent)

    def _blurred_at(self) -> list[str]:
        """Return the server of each job that has the node which slow lacks."""
        return [self.server_of(job) for job in self.jobs if self._demo_jobs[job.job_id].needs_blur]

    def _before_bob(self, ledger: Iterable[Mapping[str, object]]) -> int:
        """Return how many jobs were sent to a ComfyUI before bob's."""
        order = sorted(ledger, key=lambda row: _second(row, "accepted_at"))
        users = [self._demo_jobs[job_of(row)].user for row in order]
        return users.index("bob")

    async def _lose_one(self, comfys: dict[str, DemoProcess]) -> None:
        """Kill the ComfyUI of a job in mid-run; it never comes back. Removes it from `comfys`."""
        job_id = await self._submit(landscape())
        await self._until(lambda: self._in_mid_run({job_id}) is not None)
        job = self._in_mid_run({job_id})
        assert job is not None
        victim = comfys.pop(job.backend)
        victim.kill()
        self._say(f"ComfyUI {self.server_of(job)} killed for good while it ran {self.name_of(job)}")
        await self._until(lambda: self._is_elsewhere(job))
        other = next(iter(comfys.values()))
        name = self.name_of(job)
        self._say(f"{name} begins anew at {other.role}: nobody reached it for {AWAY_S:g} s")

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


async def read_ledger(url: str) -> list[dict[str, object]]:
    """Return what a simulator has accepted and executed. Raises Unavailable."""
    try:
        async with httpx.AsyncClient() as client:
            rows: list[dict[str, object]] = (await client.get(f"{url}/simulator/ledger")).json()
    except httpx.HTTPError as error:
        raise Unavailable(f"the simulator's ledger cannot be read: {error}") from error
    return rows


def _second(row: Mapping[str, object], name: str) -> float:
    """Return a time of a ledger's row in Unix seconds, 0 where there is none."""
    value = row.get(name)
    return value if isinstance(value, float) else 0.0
