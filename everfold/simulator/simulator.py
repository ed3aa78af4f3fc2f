"""A stand-in for a ComfyUI server: builds its parts, starts them, injects faults.

Rule: over HTTP and the websocket it behaves like ComfyUI 0.3.64, traps included; unless it
is an old one, it also cancels in one step, as newer servers do. What it adds is under /simulator:
the ledgers of what it executed and wrote, and faults on demand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web
from aiohttp.typedefs import Handler

from everfold.simulator.faults import Faults
from everfold.simulator.file_ledger import FileLedger
from everfold.simulator.file_routes import FileRoutes
from everfold.simulator.info_routes import InfoRoutes
from everfold.simulator.ledger import Ledger
from everfold.simulator.nodes.catalogue import NODES
from everfold.simulator.nodes.folders import MODELS, Folders
from everfold.simulator.nodes.node import Node
from everfold.simulator.prompt_routes import PromptRoutes
from everfold.simulator.queue import PromptQueue
from everfold.simulator.sockets import Sockets
from everfold.simulator.validation import Catalogue
from everfold.simulator.worker import Worker, exit_at_once

BODY_LIMIT_BYTES = 100 * 1024 * 1024


class Simulator:
    """Start it with `simulate`. Its folders are `output`, `temp` and `input` below `root`."""

    def __init__(
        self,
        root: Path,
        ledger: Path | None = None,
        speed: float = 1.0,
        models: Mapping[str, Sequence[str]] = MODELS,
        nodes: Mapping[str, Node] = NODES,
        *,
        is_old: bool = False,
    ) -> None:
        self._is_old = is_old
        self.folders = Folders(root, models)
        self._nodes = nodes
        self.ledger = Ledger(ledger)
        self.files = FileLedger(ledger and ledger.with_suffix(".files.jsonl"))
        self.queue = PromptQueue()
        self.sockets = Sockets()
        self.faults = Faults()
        self.requests = Counter[str]()
        """How often each method and first part of a path was asked for."""
        self._speed = speed
        self.worker = self._new_worker()
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._working: asyncio.Task[None] | None = None
        self._restarting: asyncio.Task[None] | None = None

    def _new_worker(self) -> Worker:
        return Worker(
            *(self.queue, self.sockets, self.folders, self._nodes, self.ledger, self.faults),
            self._speed,
            exit_at_once,
            self.files,
        )

    @property
    def url(self) -> str:
        """The address; port 0 before `start`."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self, port: int = 0) -> None:
        """Listen on the port (0 picks a free one) and start the worker. Raises OSError."""
        application = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[self._count])
        application.add_routes(self._routes())
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._port = port
        await self._listen()
        self._working = asyncio.create_task(self.worker.run())

    def _routes(self) -> list[web.RouteDef]:
        """Return ComfyUI's routes, each also under /api, and those of the simulator's own."""
        catalogue = Catalogue(self._nodes, self.folders)
        prompts = PromptRoutes(
            *(catalogue, self.queue, self.sockets, self.ledger, self.faults),
            self.worker.interrupt,
            self._is_old,
        )
        comfyui = [
            *prompts.table(),
            *FileRoutes(self.folders, self.faults, self.ledger).table(),
            *InfoRoutes(catalogue, self.folders).table(),
            web.get("/ws", self._get_ws),
        ]
        return [
            *comfyui,
            *(
                web.route(r.method, f"/api{r.path}", r.handler)
                for r in comfyui
                if not r.path.startswith("/api")
            ),
            web.get("/simulator/ledger", self._get_ledger),
            web.get("/simulator/uploads", self._get_uploads),
            web.get("/simulator/files", self._get_files),
            web.get("/simulator/requests", self._get_requests),
            web.post("/simulator/faults", self._post_fault),
        ]

    async def _get_ws(self, request: web.Request) -> web.WebSocketResponse:
        return await self.sockets.serve(request, self.queue.remaining)

    async def _get_ledger(self, request: web.Request) -> web.Response:
        return web.json_response(self.ledger.rows)

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        first, *_ = request.path.removeprefix("/api/").lstrip("/").split("/")
        if first != "simulator":
            self.requests[f"{request.method} /{first}"] += 1
        return await handler(request)

    async def _get_requests(self, request: web.Request) -> web.Response:
        return web.json_response(self.requests)

    async def _get_uploads(self, request: web.Request) -> web.Response:
        return web.json_response(self.ledger.uploads)

    async def _get_files(self, request: web.Request) -> web.Response:
        return web.json_response(self.files.rows)

    async def _post_fault(self, request: web.Request) -> web.Response:
        options = await request.json()
        fault = str(options.pop("fault", ""))
        if not await self.arm(fault, options):
            return web.Response(status=400, text=f"there is no fault {fault!r}")
        return web.Response()

    async def _listen(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        server = self._site._server
        assert isinstance(server, asyncio.Server)
        self._port = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections and end the worker."""
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
    models: Mapping[str, Sequence[str]] = MODELS,
    nodes: Mapping[str, Node] = NODES,
    is_old: bool = False,
) -> AsyncIterator[Simulator]:
    """Run a simulator in this event loop; without `root`, its files are gone at the end.

    Port 0 picks a free one; `speed` 10 makes nodes sleep ten times shorter. `models` maps a
    folder to the file names that its loaders list, `nodes` a class name to what it does: with
    fewer of them it is a server that lacks something. `is_old` is a server of 0.3.64 without the
    routes that came later. Raises OSError when the port is taken.
    """
    with TemporaryDirectory(prefix="everfold-simulator-") as temporary:
        simulator = Simulator(root or Path(temporary), ledger, speed, models, nodes, is_old=is_old)
        await simulator.start(port)
        try:
            yield simulator
        finally:
            await simulator.stop()
