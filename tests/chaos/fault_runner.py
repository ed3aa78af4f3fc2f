"""The processes of the chaos suite: server and fault proxy, simulators, runners, projectors."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
from anyio.to_thread import run_sync
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.redis_errors import command
from tests.support.programs.forked import ForkServer
from tests.support.programs.programs import Program, programs
from tests.support.programs.stack import Comfy, Stack, sleeper
from tests.support.server_choice import choose_server
from tests.support.servers import OwnServer, own_server
from tests.support.trouble.fault_proxy import FaultProxy

RUNNERS, PROJECTORS, COMFYS, PARTITIONS = 3, 2, 2, 4
SHORT_S, LONG_S = 0.8, 4.0
"""Freezes below and above the lease of 2 s."""


class Death(Struct, frozen=True):
    """A simulator's end: what ran there then stopped."""

    url: str
    at_s: float


class FaultRunner:
    def __init__(self, stack: Stack, server: OwnServer, proxy: FaultProxy) -> None:
        self.stack = stack
        self.server = server
        self.proxy = proxy
        self.comfys: list[Comfy] = []
        self.runners: list[Program] = []
        self.projectors: list[Program] = []
        self.deaths: list[Death] = []
        self.gone: list[Comfy] = []
        """Simulators that do not come back in this round: killed, or standing still."""
        self._restarting = anyio.Lock()

    @property
    def log(self) -> Log:
        return self.stack.log

    async def start(self) -> None:
        self.comfys = [await self.stack.comfy() for _ in range(COMFYS)]
        await self.restart_ended()

    async def restart_ended(self) -> None:
        """Start a process for each that has ended, on purpose or not."""
        self.runners = [r for r in self.runners if r.exit_code is None]
        self.projectors = [p for p in self.projectors if p.exit_code is None]
        while len(self.runners) < RUNNERS:
            self.runners.append(await self.stack.runner(*self.comfys))
        while len(self.projectors) < PROJECTORS:
            self.projectors.append(await self.stack.projector())

    async def heal(self) -> None:
        """End all faults that last, and start again what has ended."""
        self.proxy.lift()
        for runner in self.runners:
            if runner.exit_code is None:
                runner.send(signal.SIGCONT)
        for comfy in self._here():
            await comfy.fault("unmute_sockets")
            await comfy.fault("clear")
        await self.restart_ended()

    def _here(self) -> list[Comfy]:
        return [comfy for comfy in self.comfys if comfy not in self.gone]

    async def bring_back(self) -> None:
        """Let the simulators that were gone answer again: what they left undone goes on."""
        for comfy in self.gone:
            if comfy.program is not None and comfy.program.exit_code is None:
                comfy.thaw()
            else:
                await comfy.up()
        self.gone = []

    async def _lose_comfyui(self, comfy: Comfy, *, by_kill: bool) -> bool:
        async with self._restarting:
            if comfy in self.gone or len(self._here()) < 2:
                return False
            self.gone.append(comfy)
            if by_kill:
                self.deaths.append(Death(comfy.url, time.time()))
                await run_sync(comfy.kill)
            else:
                comfy.freeze()
        return True

    async def _be_a_neighbour(self, comfy: Comfy, deed: str) -> bool:
        """Use the server as somebody does who knows nothing of Everfold."""
        path, body = {
            "neighbour_submits": ("/prompt", {"prompt": sleeper(0.5)}),
            "neighbour_interrupts": ("/interrupt", {}),
            "neighbour_clears_history": ("/history", {"clear": True}),
        }[deed]
        try:
            async with httpx.AsyncClient(base_url=comfy.url) as client:
                (await client.post(path, json=body)).raise_for_status()
        except httpx.TransportError:
            return False  # it is being restarted just now
        return True

    async def inject(self, kind: str, which: int, jobs: list[str]) -> bool:
        """Inject one fault; False when there was nothing to inject it into."""
        alive = [runner for runner in self.runners if runner.exit_code is None]
        runner = alive[which % len(alive)] if alive else None
        comfy = self.comfys[which % len(self.comfys)]
        match kind:
            case "kill_runner" if runner:
                runner.send(signal.SIGKILL)
            case "drain_runner" if runner:
                runner.send(signal.SIGTERM)
            case "freeze_runner_short" if runner:
                await self._freeze(runner, SHORT_S)
            case "freeze_runner_long" if runner:
                await self._freeze(runner, LONG_S)
            case "kill_projector" if self.projectors:
                self.projectors[which % len(self.projectors)].send(signal.SIGKILL)
            case "restart_comfyui":
                async with self._restarting:
                    if comfy in self.gone:
                        return False
                    self.deaths.append(Death(comfy.url, time.time()))
                    await run_sync(comfy.kill)
                    await comfy.up()
            case "lose_comfyui":
                return await self._lose_comfyui(comfy, by_kill=which % 2 == 0)
            case "neighbour_submits" | "neighbour_interrupts" | "neighbour_clears_history":
                return comfy not in self.gone and await self._be_a_neighbour(comfy, kind)
            case "drop_sockets" | "mute_sockets" | "lose_post_response" | "lose_post_request":
                return await self._fault(comfy, kind)
            case "restart_server":
                async with self._restarting:
                    await run_sync(self.server.restart, signal.SIGKILL)
            case "cut_connections":
                self.proxy.cut()
            case "lose_replies":
                self.proxy.swallow_replies(1 + which % 3, containing=b"EVALSHA")
            case "flush_scripts":
                await self._flush_scripts()
            case _:
                return False
        return True

    async def _fault(self, comfy: Comfy, kind: str) -> bool:
        if comfy in self.gone:
            return False
        try:
            await comfy.fault(kind)
        except httpx.TransportError:
            return False  # it is being restarted just now
        return True

    async def _freeze(self, runner: Program, seconds: float) -> None:
        runner.send(signal.SIGSTOP)
        await anyio.sleep(seconds)
        if runner.exit_code is None:
            runner.send(signal.SIGCONT)

    async def _flush_scripts(self) -> None:
        with contextlib.suppress(EverfoldError):
            await command(self.log.redis, "SCRIPT FLUSH")

    def ledgers(self) -> list[dict[str, object]]:
        """Return all rows of all simulators, the last state of each."""
        rows: list[dict[str, object]] = []
        for comfy in self.comfys:
            last: dict[int, dict[str, object]] = {}
            for line in comfy.ledger.read_text().splitlines() if comfy.ledger.exists() else []:
                row = json.loads(line)
                last[row["row"]] = {**row, "url": comfy.url}
            rows += last.values()
        return rows


@contextlib.asynccontextmanager
async def fault_runner(
    folder: Path, namespace: str, fork_server: ForkServer | None = None
) -> AsyncIterator[FaultRunner]:
    engine = choose_server().engine
    assert engine is not None, "the chaos suite needs a server that it may kill"
    with (
        own_server(engine, tcp=True, appendfsync="always") as server,
        programs(fork_server=fork_server) as start,
    ):
        async with (
            FaultProxy(server.url) as proxy,
            Log.open(server.url, namespace=namespace, partitions=PARTITIONS) as log,
        ):
            log.retry_for_s = 30.0
            made = FaultRunner(Stack(log, start, folder, redis_url=proxy.url), server, proxy)
            await made.start()
            yield made
