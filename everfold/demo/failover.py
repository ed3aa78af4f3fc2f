"""The course of `everfold demo --failover`: jobs are submitted all the time, the primary is killed.

Rule: what is told at the end is counted: the submits that were acknowledged, what the log knows of
them afterwards, and what the simulators have executed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from msgspec import Struct

from everfold.client import Everfold
from everfold.demo.jobs import picture
from everfold.demo.processes import DemoProcesses
from everfold.demo.run import read_ledger
from everfold.demo.service import Service
from everfold.demo.summary import count_executed_twice
from everfold.projector.job.job import Job
from everfold.streams.errors import EverfoldError, JobUnknown, Unavailable

JOBS, JOB_S, EVERY_S = 24, 1.2, 0.4
"""How many jobs, how long each runs, and after how long the next one is submitted."""

BEFORE = 6
"""How many are acknowledged when the primary is killed, at least."""

LIMIT_S, PUT_BACK_WITHIN_S = 120.0, 15.0
SERVERS = ("gpu1", "gpu2")


class FailoverSummary(Struct, frozen=True, kw_only=True):
    acknowledged: int
    """Submits that were acknowledged."""
    during: int
    """Those of them that came after the kill."""
    succeeded: int
    lost: int
    """Acknowledged, and unknown afterwards, or without an end."""
    executed_twice: int
    """Jobs that the simulators executed more than once."""
    still_s: float
    """For how long no write was acknowledged."""
    primary: str
    """The server that became the primary."""
    seconds: float

    @property
    def is_good(self) -> bool:
        return self.lost == 0 and self.executed_twice == 0 and self.succeeded == self.acknowledged


class Failover:
    """`jobs` is what there is to be seen; `say` is called with each thing that happens."""

    def __init__(
        self,
        everfold: Everfold,
        processes: DemoProcesses,
        service: Service,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self._everfold, self._processes, self._service = everfold, processes, service
        self._folder, self._say = folder, say
        self._servers: dict[str, str] = {}
        self._acknowledged: dict[str, float] = {}
        """Job -> when its submit was acknowledged, in the order of submits."""
        self._last_s = 0.0
        self._still_s = 0.0
        self._unknown = 0
        """Jobs that were acknowledged, and of which the log knows nothing."""
        self.jobs: list[Job] = []

    def name_of(self, job: Job) -> str:
        return f"picture {list(self._acknowledged).index(job.job_id) + 1}"

    def server_of(self, job: Job) -> str:
        """Return the name of the ComfyUI that has the job, empty while none has."""
        return self._servers.get(job.backend, "")

    async def run(self) -> FailoverSummary:
        started_s = time.monotonic()
        await self._start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            with anyio.fail_after(LIMIT_S):
                async with anyio.create_task_group() as submits:
                    submits.start_soon(self._submit_all)
                    killed_s, primary = await self._kill_primary()
                await self._until_all_ended()
            tasks.cancel_scope.cancel()
        ledger = [row for url in self._servers for row in await read_ledger(url)]
        return self._summary(ledger, killed_s, primary, time.monotonic() - started_s)

    async def _start(self) -> None:
        self._say("a primary, two replicas and three Sentinels are running")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._processes.start, "projector", "projector")
            for name in SERVERS:
                tasks.start_soon(self._start_simulator, name)
        served = [p for url, name in self._servers.items() for p in ("--comfyui", f"{name}={url}")]
        async with anyio.create_task_group() as tasks:
            for name in ("anna", "bert"):
                options = (*served, "--name", name, "--drain", "0")
                tasks.start_soon(self._processes.start, name, "runner", *options)
        self._say("two runners, one projector and two simulated ComfyUI use them")

    async def _start_simulator(self, name: str) -> None:
        options = ("--port", "0", "--output", str(self._folder / "images" / name))
        made = await self._processes.start(f"ComfyUI {name}", "simulator", *options)
        self._servers[made.first_line.split()[-1]] = name

    async def _submit_all(self) -> None:
        """Submit job after job. One that is not acknowledged is submitted again, as itself."""
        self._last_s = time.monotonic()
        for number in range(1, JOBS + 1):
            key = f"picture-{number}"
            graph = picture(number % 11, JOB_S)
            while (job_id := await self._submitted(graph, key)) is None:  # noqa: ASYNC110
                await anyio.sleep(0.05)
            now_s = time.monotonic()
            self._still_s = max(self._still_s, now_s - self._last_s)
            self._acknowledged[job_id], self._last_s = now_s, now_s
            await anyio.sleep(EVERY_S)

    async def _submitted(self, graph: dict[str, dict[str, object]], key: str) -> str | None:
        try:
            made = await self._everfold.submit(graph, kind="demo", user="ada", idempotency_key=key)
        except Unavailable:
            return None
        return made.job_id

    async def _look(self) -> None:
        while True:
            known, unknown = list[Job](), 0
            for job_id in list(self._acknowledged):
                try:
                    known.append(await self._everfold.get(job_id))
                except JobUnknown:
                    unknown += 1
                except EverfoldError:
                    break  # nobody answers now: the last look stays
            else:
                self.jobs, self._unknown = known, unknown
            await anyio.sleep(0.15)

    async def _kill_primary(self) -> tuple[float, str]:
        """Kill the primary in the middle of a job; return when, and which one follows it."""
        while not self._is_in_the_middle():  # noqa: ASYNC110 - `_look` sees it
            await anyio.sleep(0.05)
        victim = await run_sync(lambda: self._service.primary)
        if victim is None:
            raise Unavailable("the Sentinels name no primary")
        await run_sync(victim.kill)
        killed_s, count = time.monotonic(), len(self._acknowledged)
        self._say(f"{victim.role}, the primary, killed with SIGKILL; {count} jobs are acknowledged")
        while (new := await run_sync(lambda: self._service.primary)) in (None, victim):  # noqa: ASYNC110
            await anyio.sleep(0.05)
        assert new is not None
        self._say(f"{new.role} is the primary now, after {time.monotonic() - killed_s:.1f} s")
        while self._last_s < killed_s:  # noqa: ASYNC110 - `_submit_all` goes on
            await anyio.sleep(0.05)
        self._say(f"the next submit is acknowledged after {self._last_s - killed_s:.1f} s")
        return killed_s, new.role

    def _is_in_the_middle(self) -> bool:
        is_any = any(job.status == "running" and job.progress > 0.3 for job in self.jobs)
        return is_any and len(self._acknowledged) >= BEFORE

    async def _until_all_ended(self) -> None:
        """Wait for the end of all jobs, but for those that stay unknown: who remembers them has
        put them back by then."""
        self._say(f"all {JOBS} jobs are acknowledged")
        until_s = time.monotonic() + PUT_BACK_WITHIN_S
        while not self._have_ended() or (self._unknown and time.monotonic() < until_s):  # noqa: ASYNC110
            await anyio.sleep(0.2)

    def _have_ended(self) -> bool:
        is_whole = len(self.jobs) + self._unknown == JOBS
        return is_whole and all(job.is_terminal for job in self.jobs)

    def _summary(
        self,
        ledger: Sequence[Mapping[str, object]],
        killed_s: float,
        primary: str,
        seconds: float,
    ) -> FailoverSummary:
        statuses = Counter(job.status for job in self.jobs)
        return FailoverSummary(
            acknowledged=len(self._acknowledged),
            during=sum(at_s > killed_s for at_s in self._acknowledged.values()),
            succeeded=statuses["succeeded"],
            lost=len(self._acknowledged) - sum(job.is_terminal for job in self.jobs),
            executed_twice=count_executed_twice(ledger),
            still_s=round(self._still_s, 1),
            primary=primary,
            seconds=round(seconds, 1),
        )
