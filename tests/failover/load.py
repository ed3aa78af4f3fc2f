"""The work that goes on while servers fail: clients, runners, gateways and consumers.

Rule: what is noted here is what a client was told, and when; nothing is taken from the server's
word afterwards. Runners, projectors, gateways and ComfyUI are processes; clients are tasks.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
from msgspec import Struct

from everfold import Everfold
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import NOW, Subscription
from everfold.streams.errors import EverfoldError
from tests.support.programs.programs import Program, StartProgram
from tests.support.programs.stack import Comfy, Stack, sleeper

WRITERS, PAUSE_S = 6, 0.05
"""Clients, and how long each waits before its next submit."""
RUN_EVERY = 20
"""One of so many submits is run; the others stay in a queue that nobody serves."""
IDLE_QUEUE = "idle"
REFUSED = (429, 502, 503, 504)


class Told(Struct, frozen=True):
    """What a client was told: this job is stored."""

    job_id: str
    asked_s: float
    told_s: float
    """time.monotonic()"""
    runs: bool
    by: str
    """client or gateway."""


class Load:
    def __init__(self, everfold: Everfold, stack: Stack, start: StartProgram) -> None:
        self.everfold = everfold
        self.stack = stack
        self.told: list[Told] = []
        self.seen: dict[tuple[str, int], str] = {}
        """(job, sequence number) -> event id, of what a consumer was given."""
        self.refused = 0
        """Submits that raised: their outcome is unknown, and they are promised to nobody."""
        self.comfys: list[Comfy] = []
        self.programs: dict[str, Program] = {}
        self.ended = 0
        """Processes that have ended though nobody ended them."""
        self._start = start
        self._gateway_url = ""
        self._asking: dict[int, float] = {}

    async def begin(self) -> None:
        self.comfys = [await self.stack.comfy() for _ in range(2)]
        await self.restart_ended()

    async def restart_ended(self) -> None:
        """Start the processes that do not run, and count those that had."""
        commands = {
            "runner-1": ("runner", "--comfyui", self.comfys[0].url),
            "runner-2": ("runner", "--comfyui", self.comfys[1].url),
            "projector": ("projector",),
            "gateway": ("serve", "--port", "0"),
        }
        for name, command in commands.items():
            if (program := self.programs.get(name)) is not None:
                if program.exit_code is None:
                    continue
                self.ended += 1
                print(f"ENDED {name}: {program}", flush=True)
            started = self._start("-m", "everfold", *command, environ=self.stack.names)
            self.programs[name] = started
            if name == "gateway":
                line = await started.line("gateway  http", within_s=60)
                await started.line("ready", within_s=60)
                found = re.search(r"http://\S+", line)
                assert found
                self._gateway_url = found[0]

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Let clients submit, and a consumer read, until this is left."""
        self.told.clear()
        self.seen.clear()
        self.refused = 0
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.everfold.consume, self._consumer())
            scope = anyio.CancelScope()

            async def until_left() -> None:
                with scope:
                    async with anyio.create_task_group() as clients:
                        for number in range(WRITERS):
                            clients.start_soon(self._write, number)
                        clients.start_soon(self._write_by_gateway)

            tasks.start_soon(until_left)
            try:
                yield
            finally:
                scope.cancel()
            # What was appended last is still on its way to the consumer.
            await anyio.sleep(1.0)
            tasks.cancel_scope.cancel()

    def asked_longest_s(self, since_s: float) -> float:
        """Return how long the longest submit took from the fault on, in seconds."""
        late = [t.told_s - max(t.asked_s, since_s) for t in self.told if t.told_s >= since_s]
        now_s = time.monotonic()
        waiting = [now_s - max(asked_s, since_s) for asked_s in self._asking.values()]
        return max([*late, *waiting], default=0.0)

    async def _write(self, number: int) -> None:
        count = number * 3  # so that not all of them run at once
        while True:
            count += 1
            runs = count % RUN_EVERY == 0
            asked_s = self._asking[number] = time.monotonic()
            try:
                made = await self.everfold.submit(
                    sleeper(0.2, count), queue="default" if runs else IDLE_QUEUE, validate=False
                )
            except EverfoldError:
                self.refused += 1
            else:
                self._tell(made.job_id, asked_s, runs, "client")
            del self._asking[number]
            await anyio.sleep(PAUSE_S)

    async def _write_by_gateway(self) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            while True:
                asked_s = time.monotonic()
                try:
                    answer = await client.post(
                        f"{self._gateway_url}/api/v2/jobs", json={"workflow": sleeper(0.2)}
                    )
                except httpx.TransportError:
                    self.refused += 1
                else:
                    if answer.status_code == 201:
                        self._tell(str(answer.json()["id"]), asked_s, True, "gateway")
                    else:
                        assert answer.status_code in REFUSED, answer.text
                        self.refused += 1
                await anyio.sleep(1.0)

    def _tell(self, job_id: str, asked_s: float, runs: bool, by: str) -> None:
        self.told.append(Told(job_id, asked_s, time.monotonic(), runs, by))

    def _consumer(self) -> Subscription:
        @Subscription("counted", start=NOW)
        async def note(delivery: Delivery) -> None:
            self.seen[delivery.record.job_id, delivery.record.seq] = delivery.event.id

        return note


@asynccontextmanager
async def load(
    url: str,
    namespace: str,
    folder: Path,
    start: StartProgram,
    *,
    replicas: int = 0,
    partitions: int | None = None,
) -> AsyncIterator[Load]:
    """Open a client and start all processes on a namespace; with `replicas`, writes WAIT."""
    environ: Mapping[str, str] = {
        "EVERFOLD_ASSETS": str(folder / "assets"),
        "EVERFOLD_CONFIG": os.devnull,
        **({"EVERFOLD_REPLICAS": str(replicas)} if replicas else {}),
    }
    options: dict[str, object] = {"replicas": replicas} if replicas else {}
    async with Everfold.connect(
        url,
        namespace=namespace,
        partitions=partitions,
        config=os.devnull,
        **options,  # type: ignore[arg-type]
    ) as everfold:
        await everfold.log.make()
        stack = Stack(everfold.log, start, folder, redis_url=url, environ=environ)
        made = Load(everfold, stack, start)
        await made.begin()
        yield made
