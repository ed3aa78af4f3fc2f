"""The processes of one test: simulators, runners and a projector on one log, and what they did."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from everfold.projector.job.job import Job
from everfold.projector.reading.queries import current
from everfold.runner.config import RunnerConfig
from everfold.streams.appending.log import Log
from everfold.streams.errors import JobUnknown
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Policy
from everfold.streams.reading.reader import job_events
from tests.support.programs.programs import Program, StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.wait import eventually

T = TypeVar("T")

END_WITHIN_S = 30.0
START_WITHIN_S = 60.0
"""Of a program: on a busy machine a start takes its time, and one that fails is told at once."""
LEASES = Leases()
_product = RunnerConfig(name="product")
PRODUCT_LEASES = Leases(
    ttl_s=_product.lease_ttl_s,
    renew_every_s=_product.renew_every_s,
    margin_s=_product.lease_margin_s,
    suspect_after_s=_product.suspect_after_s,
)


class Comfy:
    """A simulator process that can be killed and started again at the same address."""

    def __init__(self, start: StartProgram, folder: Path, *options: str) -> None:
        self._start, self._folder, self.options = start, folder, options
        self.url = ""
        self.program: Program | None = None

    async def up(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        self.program = self._start(
            *("-m", "everfold.simulator", "--port", port, "--output", str(self._folder)),
            *("--ledger", str(self.ledger), *self.options),
        )
        line = await self.program.line("listening on", within_s=START_WITHIN_S)
        self.url = line.split()[-1]

    @property
    def ledger(self) -> Path:
        return self._folder / "ledger.jsonl"

    def kill(self) -> None:
        assert self.program is not None
        self.program.kill()

    async def fault(self, name: str, **options: object) -> None:
        async with httpx.AsyncClient() as client:
            body = {"fault": name, **options}
            answer = await client.post(f"{self.url}/simulator/faults", json=body)
            answer.raise_for_status()

    def freeze(self) -> None:
        """Stop the process: it answers nothing, and goes on with its prompt when thawed."""
        assert self.program is not None
        self.program.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.program is not None
        self.program.send(signal.SIGCONT)

    async def running(self) -> list[str]:
        """Return the prompt ids of what runs."""
        async with httpx.AsyncClient() as client:
            queue = (await client.get(f"{self.url}/queue")).json()
        return [item[1] for item in queue["queue_running"]]

    async def files(self) -> list[dict[str, object]]:
        """Return a row for each file that its nodes have written or sent, with its hash."""
        async with httpx.AsyncClient() as client:
            rows: list[dict[str, object]] = (await client.get(f"{self.url}/simulator/files")).json()
            return rows

    async def executions(self) -> list[str]:
        """Return the prompt id of each execution that has begun, in order."""
        async with httpx.AsyncClient() as client:
            rows = (await client.get(f"{self.url}/simulator/ledger")).json()
        return [row["prompt_id"] for row in rows if row.get("started_at")]


class Stack:
    def __init__(
        self,
        log: Log,
        start: StartProgram,
        folder: Path,
        *,
        redis_url: str | None = None,
        leases: Leases = LEASES,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self.environ = dict(environ or {})
        """What all its programs have in their environment."""
        self.leases = leases
        self.redis_url = redis_url or log.url.reveal()
        self._start, self._folder = start, folder
        self._programs: list[Program] = []
        self._count = 0

    async def comfy(self, *options: str) -> Comfy:
        """Start a simulator; `options` are those of `python -m everfold.simulator`."""
        self._count += 1
        made = Comfy(self._start, self._folder / f"comfy{self._count}", *options)
        await made.up()
        return made

    async def runner(
        self,
        *backends: Comfy,
        at: str = "",
        module: tuple[str, ...] = ("tests.support.programs.runner_program",),
        **options: object,
    ) -> Program:
        """Start a runner; `options` are fields of runner_program.RunnerOptions."""
        self._count += 1
        whole = {
            "redis": self.redis_url,
            "namespace": self.log.keys.namespace,
            "name": f"runner-{self._count}",
            "backends": [comfy.url for comfy in backends],
            "leases": self.leases,
            "at": at,
            **options,
        }
        text = msgspec.json.encode(whole).decode()
        program = self._start("-m", *module, text, environ=self.environ)
        self._programs.append(program)
        await program.line("ready", within_s=START_WITHIN_S)
        return program

    @property
    def names(self) -> dict[str, str]:
        """The environment of a command on this namespace."""
        names = {"REDIS_URL": self.redis_url, "EVERFOLD_NAMESPACE": self.log.keys.namespace}
        return {**names, **self.environ}

    async def projector(self) -> Program:
        program = self._start("-m", "everfold", "projector", environ=self.names)
        self._programs.append(program)
        await program.line("projector", within_s=START_WITHIN_S)
        return program

    def start(self, *arguments: str, environ: Mapping[str, str]) -> Program:
        """Start another program of this namespace."""
        program = self._start(*arguments, environ=environ)
        self._programs.append(program)
        return program

    async def submit(self, seconds: float = 1.0, policy: Policy | None = None) -> str:
        made = await self.log.submit(sleeper(seconds), policy=policy)
        return made.job_id

    async def job(self, job_id: str) -> Job:
        return await current(self.log, job_id)

    async def until(self, job_id: str, status: str, within_s: float = END_WITHIN_S) -> Job:
        """Wait until the job has this status; AssertionError when it ends with another one."""
        job = await self._reached(job_id, lambda job: job.status == status, within_s)
        assert job.status == status, await self.event_text(job_id)
        return job

    async def submit_deaf(self, seconds: float, policy: Policy) -> str:
        """Submit a job whose node does not hear an interrupt."""
        made = await self.log.submit(sleeper(seconds, is_deaf=True), policy=policy)
        return made.job_id

    async def ended(self, job_id: str) -> Job:
        return await self._reached(job_id, lambda job: job.is_terminal)

    async def until_known(self, job_id: str) -> None:
        """Wait until the log knows the job again."""

        async def known() -> bool:
            try:
                return bool(await self.job(job_id))
            except JobUnknown:
                return False

        await eventually(known, END_WITHIN_S)

    async def until_back(self, job_id: str, status: str) -> Job:
        """Wait for this status of a job that the log may not know for a while."""

        async def reached() -> Job | None:
            try:
                job = await self.job(job_id)
            except JobUnknown:
                return None
            return job if job.status == status else None

        found = await eventually(reached, END_WITHIN_S)
        assert found is not None
        return found

    async def until_progress(self, job_id: str, progress: float) -> None:
        """Wait until the log says that the job has come so far, while it still runs."""
        job = await self._reached(job_id, lambda job: job.progress >= progress)
        assert job.status == "running", await self.event_text(job_id)

    async def until_event(self, job_id: str, kind: str, within_s: float = END_WITHIN_S) -> None:
        async def appended() -> bool:
            return kind in await self.event_types(job_id)

        await self._waited(job_id, appended, within_s)

    async def _reached(
        self, job_id: str, condition: Callable[[Job], bool], within_s: float = END_WITHIN_S
    ) -> Job:
        """Wait until the condition holds or the job has ended."""

        async def reached() -> Job | None:
            job = await self.job(job_id)
            return job if condition(job) or job.is_terminal else None

        job = await self._waited(job_id, reached, within_s)
        assert job is not None
        return job

    async def _waited(
        self, job_id: str, condition: Callable[[], Awaitable[T]], within_s: float
    ) -> T:
        """Wait; AssertionError with the job's events and what every process printed last."""
        try:
            return await eventually(condition, within_s)
        except AssertionError as late:
            printed = "\n\n".join(str(program) for program in self._programs)
            raise AssertionError(f"{late}\n{await self.event_text(job_id)}\n{printed}") from None

    async def event_types(self, job_id: str) -> list[str]:
        """Return the types of the job's events, without the `job.` in front."""
        return [
            record.event.__struct_config__.tag.removeprefix("job.")  # type: ignore[union-attr]
            for record in await job_events(self.log, job_id)
            if not isinstance(record.event, Unreadable)
        ]

    async def event_text(self, job_id: str) -> str:
        events = await job_events(self.log, job_id)
        return "\n".join(f"{e.seq} {e.epoch} {e.payload.decode()}" for e in events)

    async def owner_among(self, job_id: str, *runners: Program) -> tuple[Program, list[Program]]:
        """Return the runner that holds the job, and the others."""
        owner = (await self.job(job_id)).owner
        holding = [r for r in runners if f'"name":"{owner}"' in r.arguments[-1]]
        return holding[0], [r for r in runners if r is not holding[0]]


def sleeper(
    seconds: float, color: int | None = None, *, is_deaf: bool = False
) -> dict[str, object]:
    """A graph that sleeps with progress, ten steps a second, and saves one image.

    A deaf one shows no progress and hears no interrupt.

    Each has a colour of its own, so that no two are answered from the node cache.
    """
    color = int.from_bytes(os.urandom(3), "big") if color is None else color
    image = {"width": 16, "height": 16, "batch_size": 1, "color": color}
    steps = {"seconds": seconds, "steps": max(1, int(seconds * 10)), "preview": False}
    node = {"image": ["1", 0], **steps, "seed": color}
    asleep = {"class_type": "JTSleepProgress", "inputs": node}
    if is_deaf:
        node = {"image": ["1", 0], "seconds": seconds, "seed": color}
        asleep = {"class_type": "JTSleepDeaf", "inputs": node}
    saved = {"images": ["2", 0], "filename_prefix": "stack"}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": asleep,
        "3": {"class_type": "SaveImage", "inputs": saved},
    }
