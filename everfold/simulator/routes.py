"""The HTTP side, as ComfyUI answers; every route also under /api, the faults under /simulator."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, cast

from aiohttp import web

from everfold.simulator.catalogue import NODES, described
from everfold.simulator.queue import shown
from everfold.simulator.sockets import FEATURES
from everfold.simulator.validation import Graph, validate

if TYPE_CHECKING:
    from everfold.simulator.simulator import Simulator

VERSION = "0.3.64"


class Routes:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._queue = simulator.queue

    def table(self) -> list[web.RouteDef]:
        both = [
            web.post("/prompt", self.post_prompt),
            web.get("/prompt", self.get_prompt),
            web.get("/queue", self.get_queue),
            web.post("/queue", self.post_queue),
            web.post("/interrupt", self.post_interrupt),
            web.get("/history", self.get_history),
            web.post("/history", self.post_history),
            web.get("/history/{prompt_id:.*}", self.get_history_of),
            web.get("/view", self.get_view),
            web.post("/upload/image", self.post_upload),
            web.get("/system_stats", self.get_system_stats),
            web.get("/features", self.get_features),
            web.get("/object_info", self.get_object_info),
            web.get("/object_info/{name}", self.get_object_info_of),
            web.post("/free", self.post_nothing),
            web.get("/ws", self.get_ws),
        ]
        api = [web.route(r.method, f"/api{r.path}", r.handler) for r in both]
        own = [
            web.get("/simulator/ledger", self.get_ledger),
            web.post("/simulator/faults", self.post_fault),
        ]
        return [*both, *api, *own]

    async def post_prompt(self, request: web.Request) -> web.StreamResponse:
        faults = self._simulator.faults
        body = await request.json()
        if faults.take("lose_requests"):
            return _cut(request)
        if faults.take("refuse_posts"):
            return web.Response(status=faults.refuse_status, text="refused on demand")
        number = body.get("number")
        if number is None:
            number = self._queue.next_number(bool(body.get("front")))
        if "prompt" not in body:
            return _refuse("no_prompt", "No prompt provided", "No prompt provided")
        verdict = validate(body["prompt"], body.get("partial_execution_targets"))
        if verdict.error is not None:
            answer = {"error": verdict.error, "node_errors": verdict.node_errors}
            return web.json_response(answer, status=400)
        prompt_id = str(body.get("prompt_id", uuid.uuid4()))
        await self._accept(body, number, prompt_id, verdict.outputs)
        if faults.take("lose_responses"):
            return _cut(request)
        return web.json_response(
            {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        )

    async def _accept(
        self, body: dict[str, object], number: float, prompt_id: str, outputs: list[str]
    ) -> None:
        extra = body.get("extra_data") or {}
        assert isinstance(extra, dict)
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        row = self._simulator.ledger.accepted(prompt_id, number, extra)
        graph = cast("Graph", body["prompt"])
        self._queue.put((number, prompt_id, graph, extra, outputs, row))
        await self._simulator.sockets.status(self._queue.remaining)

    async def get_prompt(self, request: web.Request) -> web.Response:
        return web.json_response({"exec_info": {"queue_remaining": self._queue.remaining}})

    async def get_queue(self, request: web.Request) -> web.Response:
        running = [shown(self._queue.running)] if self._queue.running is not None else []
        pending = [shown(item) for item in self._queue.pending]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._queue.pending.clear()
            await self._simulator.sockets.status(self._queue.remaining)
        for prompt_id in body.get("delete", []):
            if self._queue.delete(str(prompt_id)):
                await self._simulator.sockets.status(self._queue.remaining)
        return web.Response()

    async def post_interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError:
            body = {}
        prompt_id = body.get("prompt_id")
        running = self._queue.running
        if not prompt_id or (running is not None and running[1] == prompt_id):
            self._simulator.worker.interrupt()
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        entries = list(self._queue.history.items())
        offset, most = request.query.get("offset"), request.query.get("max_items")
        if offset is not None and int(offset) >= 0:
            entries = entries[int(offset) :][: int(most) if most else None]
        elif most is not None:
            entries = entries[-int(most) :]
        return web.json_response(dict(entries))

    async def get_history_of(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        if not prompt_id:
            return web.Response(status=404)
        entry = self._queue.history.get(prompt_id)
        return web.json_response({} if entry is None else {prompt_id: entry})

    async def post_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._queue.history.clear()
        for prompt_id in body.get("delete", []):
            self._queue.history.pop(str(prompt_id), None)
        return web.Response()

    async def get_view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        kind, name = query.get("type", "output"), query.get("filename", "")
        if not name or kind not in ("output", "temp", "input"):
            return web.Response(status=400)
        try:
            path = self._simulator.folders.find(kind, query.get("subfolder", ""), name)
        except PermissionError:
            return web.Response(status=403)
        return web.Response(status=404) if path is None else web.FileResponse(path)

    async def post_upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        upload = form.get("image")
        if not isinstance(upload, web.FileField) or not upload.filename:
            return web.Response(status=400)
        kind, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        folder = self._simulator.folders.of(kind) / subfolder
        folder.mkdir(parents=True, exist_ok=True)
        name, content = upload.filename.replace("/", "_"), upload.file.read()
        if not form.get("overwrite"):
            name = _free_name(folder, name, content)
        (folder / name).write_bytes(content)
        return web.json_response({"name": name, "subfolder": subfolder, "type": kind})

    async def get_system_stats(self, request: web.Request) -> web.Response:
        system = {
            "os": "posix",
            "ram_total": 0,
            "ram_free": 0,
            "comfyui_version": VERSION,
            "python_version": "3.11",
            "pytorch_version": "none",
            "embedded_python": False,
            "argv": ["main.py"],
        }
        device = {"name": "cpu", "type": "cpu", "index": None, "vram_total": 0, "vram_free": 0}
        return web.json_response({"system": system, "devices": [device]})

    async def get_features(self, request: web.Request) -> web.Response:
        return web.json_response(FEATURES)

    async def get_object_info(self, request: web.Request) -> web.Response:
        return web.json_response({name: described(name) for name in NODES})

    async def get_object_info_of(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response({name: described(name)} if name in NODES else {})

    async def post_nothing(self, request: web.Request) -> web.Response:
        return web.Response()

    async def get_ws(self, request: web.Request) -> web.WebSocketResponse:
        return await self._simulator.sockets.serve(request, self._queue.remaining)

    async def get_ledger(self, request: web.Request) -> web.Response:
        return web.json_response(self._simulator.ledger.rows)

    async def post_fault(self, request: web.Request) -> web.Response:
        options = await request.json()
        fault = str(options.pop("fault", ""))
        if not await self._simulator.arm(fault, options):
            return web.Response(status=400, text=f"there is no fault {fault!r}")
        return web.Response()


def _refuse(kind: str, message: str, details: str) -> web.Response:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return web.json_response({"error": error, "node_errors": {}}, status=400)


def _cut(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _free_name(folder: Path, name: str, content: bytes) -> str:
    stem, suffix = Path(name).stem, Path(name).suffix
    place, count = folder / name, 1
    while place.exists() and place.read_bytes() != content:
        place = place.with_name(f"{stem} ({count}){suffix}")
        count += 1
    return place.name
