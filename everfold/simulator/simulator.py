"""A stand-in for a ComfyUI server: its parts put together, started and maltreated.

Rule: over HTTP and the websocket it behaves like ComfyUI 0.3.64, traps included; what it adds is
under /simulator: the ledger of what it executed, and faults on demand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from everfold.simulator.faults import Faults
from everfold.simulator.ledger import Ledger
from everfold.simulator.pictures import Folders
from everfold.simulator.queue import PromptQueue
from everfold.simulator.routes import Routes
from everfold.simulator.sockets import Sockets
from everfold.simulator.worker import Worker, exit_at_once

BODY_LIMIT_BYTES = 100 * 1024 * 1024


class Simulator:
    """Start it with `simulate`. Its folders are `output`, `temp` and `input` below `root`."""

    def __init__(self, root: Path, ledger: Path | None = None, speed: float = 1.0) -> None:
        self.folders = Folders(root)
        self.ledger = Ledger(ledger)
        self.queue = PromptQueue()
        self.sockets = Sockets()
        self.faults = Faults()
        self._speed = speed
        self.worker = self._new_worker()
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._working: asyncio.Task[None] | None = None
        self._restarting: asyncio.Task[None] | None = None

    def _new_worker(self) -> Worker:
        return Worker(
            *(self.queue, self.sockets, self.folders, self.ledger, self.faults),
            self._speed,
            exit_at_once,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, port: int = 0) -> None:
        application = web.Application(client_max_size=BODY_LIMIT_BYTES)
        application.add_routes(Routes(self).table())
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._port = port
        await self._listen()
        self._working = asyncio.create_task(self.worker.run())

    async def _listen(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        server = self._site._server
        assert isinstance(server, asyncio.Server)
        self._port = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        for task in (self._working, self._restarting):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self.sockets.drop()
        if self._runner is not None:
            await self._runner.cleanup()

    async def arm(self, fault: str, options: dict[str, object]) -> bool:
        """Make something go wrong; False for a fault that does not exist."""
        match fault:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "restart_empty":
                down_s = float(str(options.get("seconds", 0.5)))
                keeps_temp = bool(options.get("keep_temp"))
                self._restarting = asyncio.create_task(self._restart(down_s, keeps_temp))
            case "drop_sockets":
                self.sockets.drop()
            case "mute_sockets":
                client = options.get("client_id")
                self.sockets.mute(client if isinstance(client, str) else None)
            case "unmute_sockets":
                self.sockets.unmute()
            case "kill_worker":
                self.worker.is_dead = True
            case _:
                return self.faults.arm(fault, options)
        return True

    async def _restart(self, down_s: float, keeps_temp: bool) -> None:
        """Forget everything that a real server forgets, and refuse connections meanwhile."""
        assert self._site is not None
        assert self._working is not None
        self._working.cancel()
        await self._site.stop()
        self.sockets.drop()
        if self.queue.running is not None:
            self.ledger.ended(self.queue.running[5], "server died")
        self.queue.forget_all()
        self.worker.forget()
        self.sockets.unmute()
        self.sockets.executing_node = self.sockets.executing_client = None
        if not keeps_temp:
            self.folders.clear_temp()
        await asyncio.sleep(down_s)
        await self._listen()
        self._working = asyncio.create_task(self.worker.run())


@contextlib.asynccontextmanager
async def simulate(
    root: Path | None = None,
    *,
    port: int = 0,
    ledger: Path | None = None,
    speed: float = 1.0,
) -> AsyncIterator[Simulator]:
    """Run a simulator in this event loop; without `root`, its files are gone at the end."""
    with TemporaryDirectory(prefix="everfold-simulator-") as temporary:
        simulator = Simulator(root or Path(temporary), ledger, speed)
        await simulator.start(port)
        try:
            yield simulator
        finally:
            await simulator.stop()
