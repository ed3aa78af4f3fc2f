"""A server that answers as the recorded ComfyUI did: real HTTP, real websockets.

Its queue and history are what the recording says at the moment that the replay has reached.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from aiohttp import WSMsgType, web


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Wait for a condition that only other tasks can bring about."""
    try:
        with anyio.fail_after(timeout_s):
            while not condition():  # noqa: ASYNC110 - the conditions are plain state of others
                await anyio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s} s in vain until {what}") from None


class HeldAnswer:
    """The answer to a POST that arrived, held back until the replay gets to it."""

    def __init__(self) -> None:
        self.arrived = False
        self.released = asyncio.Event()
        self.status = 200
        self.body: object = None


class ReplayServer:
    def __init__(
        self, *, prefix: str = "", authorization: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.prefix, self.authorization, self.tls = prefix, authorization, tls
        self.version = "0.3.64"
        self.seen: list[str] = []
        """Method and path of every request, in order."""
        self.failing: dict[str, int] = {}
        """Status with which a path answers, whatever it is asked."""
        self.sockets_seen: list[str] = []
        """opened, closed, opened ..."""
        self.running: list[list[Any]] = []
        self.pending: list[list[Any]] = []
        self.history: dict[str, dict[str, Any]] = {}
        self.unreadable: set[str] = set()
        """Prompts whose history answers 500."""
        self.files: dict[str, bytes] = {}
        self.sockets: dict[str, list[web.WebSocketResponse]] = defaultdict(list)
        self.expected_posts: dict[str, HeldAnswer] = {}
        self.cut_posts = 0
        """POSTs whose body stayed incomplete."""
        self.posts: list[dict[str, Any]] = []
        self.cancels: list[str] = []
        """What was asked to be deleted or interrupted."""
        self.has_jobs = False
        """Whether it has the routes of newer servers, below /api/jobs."""
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self._port}{self.prefix}"

    @property
    def is_up(self) -> bool:
        return self._runner is not None

    async def start(self) -> None:
        """Start empty, as after every boot, on the same port as before."""
        self.running, self.pending, self.history, self.files = [], [], {}, {}
        app = web.Application(client_max_size=2**26, middlewares=[self._admit])
        app.add_routes(
            [
                web.get(self.prefix + "/ws", self._websocket),
                web.post(self.prefix + "/prompt", self._prompt),
                web.get(self.prefix + "/queue", self._queue),
                web.post(self.prefix + "/queue", self._delete),
                web.post(self.prefix + "/interrupt", self._interrupt),
                web.post(self.prefix + "/api/jobs/{id}/cancel", self._cancel_job),
                web.get(self.prefix + r"/history/{id:[^{}/]+|.*%2F.*}", self._history),
                web.get(self.prefix + "/view", self._view),
                web.post(self.prefix + "/upload/image", self._upload),
                web.get(self.prefix + "/system_stats", self._system_stats),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.0)
        await runner.setup()
        site = web.TCPSite(
            runner, "127.0.0.1", self._port, reuse_address=True, ssl_context=self.tls
        )
        await site.start()
        assert site._server is not None
        self._port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self._runner = runner

    async def stop(self) -> None:
        """Die: every connection breaks, and further ones are refused."""
        if self._runner is not None:
            for client_id in self.sockets:
                self.drop(client_id)
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def send(self, client_id: str, frame: str | bytes) -> None:
        for socket in self.sockets[client_id]:
            if isinstance(frame, bytes):
                await socket.send_bytes(frame)
            else:
                await socket.send_str(frame)

    def drop(self, client_id: str) -> None:
        """Cut the client's connections without a closing handshake."""
        for socket in self.sockets[client_id]:
            transport = socket._req.transport if socket._req else None
            if transport is not None:
                transport.abort()
        self.sockets[client_id] = []

    @web.middleware
    async def _admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        path = request.path.removeprefix(self.prefix)
        self.seen.append(f"{request.method} {path}")
        if request.headers.get("Authorization", "") != self.authorization:
            return web.Response(status=401)
        if path in self.failing:
            return web.Response(status=self.failing[path], text="failing")
        return await handler(request)

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        client_id = request.query["clientId"]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets[client_id].append(socket)
        self.sockets_seen.append("opened")
        try:
            async for message in socket:
                assert message.type == WSMsgType.TEXT
        finally:
            self.sockets_seen.append("closed")
            if socket in self.sockets[client_id]:
                self.sockets[client_id].remove(socket)
        return socket

    async def _prompt(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except OSError:
            self.cut_posts += 1
            return web.Response()
        self.posts.append(body)
        held = self.expected_posts[body["prompt_id"]]
        held.arrived = True
        await held.released.wait()
        if held.status == 0:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return _answer(held.status, held.body)

    async def _queue(self, request: web.Request) -> web.Response:
        return _answer(200, {"queue_running": self.running, "queue_pending": self.pending})

    async def _history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        if prompt_id in self.unreadable:
            raise web.HTTPInternalServerError(
                text="500 Internal Server Error\n\nServer got itself in trouble"
            )
        entry = self.history.get(prompt_id)
        return _answer(200, {} if entry is None else {prompt_id: entry})

    async def _view(self, request: web.Request) -> web.Response:
        content = self.files.get(request.query["filename"])
        return web.Response(status=404) if content is None else web.Response(body=content)

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form["image"]
        assert isinstance(image, web.FileField)
        self.files[image.filename] = image.file.read()
        return _answer(200, {"name": image.filename, "subfolder": "", "type": form["type"]})

    async def _system_stats(self, request: web.Request) -> web.Response:
        return _answer(200, {"system": {"comfyui_version": self.version}})

    async def _delete(self, request: web.Request) -> web.Response:
        (prompt_id,) = (await request.json())["delete"]
        self.cancels.append(f"delete {prompt_id[:8]}")
        return web.Response()

    async def _cancel_job(self, request: web.Request) -> web.Response:
        if not self.has_jobs:
            return web.Response(status=404)
        self.cancels.append(f"cancel {request.match_info['id'][:8]}")
        return _answer(200, {"cancelled": True})

    async def _interrupt(self, request: web.Request) -> web.Response:
        self.cancels.append(f"interrupt {(await request.json())['prompt_id'][:8]}")
        return web.Response()


def _answer(status: int, body: object) -> web.Response:
    if isinstance(body, str):
        return web.Response(status=status, text=body)
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
