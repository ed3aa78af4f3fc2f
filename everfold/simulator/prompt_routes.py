"""Prompts over HTTP: POST /prompt, the queue, interrupts and the history, as ComfyUI answers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import cast

from aiohttp import web

from everfold.runner.capabilities.node_check import Graph
from everfold.runner.capabilities.validation import refusal
from everfold.simulator.faults import Faults
from everfold.simulator.ledger import Ledger
from everfold.simulator.queue import PromptQueue, shown
from everfold.simulator.sockets import Sockets
from everfold.simulator.validation import Catalogue, check
from everfold.streams.appending.body import PARTNER_KEYS


class PromptRoutes:
    """`interrupt` asks the worker to stop the prompt that runs.

    An old server, of 0.3.64, shows the keys for partner nodes in its queue, and cannot cancel a
    prompt in one step.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        queue: PromptQueue,
        sockets: Sockets,
        ledger: Ledger,
        faults: Faults,
        interrupt: Callable[[], None],
        is_old: bool = False,
    ) -> None:
        self._is_old = is_old
        self._catalogue, self._queue, self._sockets = catalogue, queue, sockets
        self._ledger, self._faults, self._interrupt = ledger, faults, interrupt

    def table(self) -> list[web.RouteDef]:
        """Return the routes, without the copies under /api."""
        newer = (
            [] if self._is_old else [web.post("/api/jobs/{prompt_id}/cancel", self._post_cancel)]
        )
        return [
            *newer,
            web.post("/prompt", self._post_prompt),
            web.get("/prompt", self._get_prompt),
            web.get("/queue", self._get_queue),
            web.post("/queue", self._post_queue),
            web.post("/interrupt", self._post_interrupt),
            web.get("/history", self._get_history),
            web.post("/history", self._post_history),
            web.get("/history/{prompt_id:.*}", self._get_history_of),
        ]

    async def _post_prompt(self, request: web.Request) -> web.StreamResponse:
        faults = self._faults
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
        verdict = check(body["prompt"], self._catalogue, body.get("partial_execution_targets"))
        if verdict.error is not None:
            return web.json_response(refusal(verdict), status=400)
        own_id = uuid.uuid4()
        prompt_id = str(own_id if faults.own_ids else body.get("prompt_id", own_id))
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
        keys = [name for name in PARTNER_KEYS if name in extra]
        if not self._is_old:
            extra = {name: value for name, value in extra.items() if name not in keys}
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        row = self._ledger.accepted(prompt_id, number, extra, keys)
        graph = cast("Graph", body["prompt"])
        self._queue.put((number, prompt_id, graph, extra, outputs, row))
        await self._sockets.status(self._queue.remaining)

    async def _get_prompt(self, request: web.Request) -> web.Response:
        return web.json_response({"exec_info": {"queue_remaining": self._queue.remaining}})

    async def _get_queue(self, request: web.Request) -> web.Response:
        running = [shown(self._queue.running)] if self._queue.running is not None else []
        pending = [shown(item) for item in self._queue.pending]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._queue.pending.clear()
            await self._sockets.status(self._queue.remaining)
        for prompt_id in body.get("delete", []):
            if self._queue.delete(str(prompt_id)):
                await self._sockets.status(self._queue.remaining)
        return web.Response()

    async def _post_interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError:
            body = {}
        prompt_id = body.get("prompt_id")
        running = self._queue.running
        if not prompt_id or (running is not None and running[1] == prompt_id):
            self._interrupt()
        return web.Response()

    async def _post_cancel(self, request: web.Request) -> web.Response:
        """Cancel a prompt that waits or runs, in one step."""
        prompt_id, running = request.match_info["prompt_id"], self._queue.running
        is_found = self._queue.delete(prompt_id)
        if is_found:
            await self._sockets.status(self._queue.remaining)
        elif running is not None and running[1] == prompt_id:
            self._interrupt()
            is_found = True
        self._ledger.cancels.append(prompt_id)
        return web.json_response({"cancelled": is_found})

    async def _get_history(self, request: web.Request) -> web.Response:
        entries = list(self._queue.history.items())
        offset, most = request.query.get("offset"), request.query.get("max_items")
        if offset is not None and int(offset) >= 0:
            entries = entries[int(offset) :][: int(most) if most else None]
        elif most is not None:
            entries = entries[-int(most) :]
        return web.json_response(dict(entries))

    async def _get_history_of(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        if not prompt_id:
            return web.Response(status=404)
        entry = self._queue.history.get(prompt_id)
        return web.json_response({} if entry is None else {prompt_id: entry})

    async def _post_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._queue.history.clear()
        for prompt_id in body.get("delete", []):
            self._queue.history.pop(str(prompt_id), None)
        return web.Response()


def _refuse(kind: str, message: str, details: str) -> web.Response:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return web.json_response({"error": error, "node_errors": {}}, status=400)


def _cut(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
