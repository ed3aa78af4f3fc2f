"""The websockets: which client gets which message, with ComfyUI's own faults.

A message goes to the socket that is registered under the prompt's client id, or to all when it
is a broadcast. When an older socket of the same client id closes, the newer one goes deaf.
"""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import Mapping

from aiohttp import web


class Sockets:
    def __init__(self) -> None:
        self._by_client: dict[str, web.WebSocketResponse] = {}
        self._open: set[web.WebSocketResponse] = set()
        self._muted = False
        self._muted_clients: set[str] = set()
        self._wants_metadata: set[str] = set()
        self.executing_node: str | None = None
        self.executing_client: str | None = None

    async def serve(self, request: web.Request, remaining: int) -> web.WebSocketResponse:
        """Serve one client's socket until it closes."""
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        client = request.query.get("clientId") or uuid.uuid4().hex
        self._by_client[client] = socket
        self._open.add(socket)
        try:
            await self._welcome(socket, client, remaining)
            async for message in socket:
                self._listen(client, str(message.data))
        finally:
            self._open.discard(socket)
            # Whatever is registered under the id goes, even a newer socket.
            self._by_client.pop(client, None)
        return socket

    async def _welcome(self, socket: web.WebSocketResponse, client: str, remaining: int) -> None:
        if self._muted:
            return
        await socket.send_json({"type": "status", "data": {**_status(remaining), "sid": client}})
        if client == self.executing_client and self.executing_node is not None:
            await socket.send_json({"type": "executing", "data": {"node": self.executing_node}})

    def _listen(self, client: str, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            return
        if isinstance(message, dict) and message.get("type") == "feature_flags":
            if message.get("data", {}).get("supports_preview_metadata"):
                self._wants_metadata.add(client)
            socket = self._by_client.get(client)
            if socket is not None:
                reply = {"type": "feature_flags", "data": FEATURES}
                _spawn(socket.send_json(reply))

    async def status(self, remaining: int) -> None:
        """Tell all sockets how many prompts remain."""
        await self.broadcast("status", _status(remaining))

    async def send(self, client: str | None, kind: str, data: Mapping[str, object]) -> None:
        """Send to one client; to nobody when the prompt has none or it is not connected."""
        socket = self._by_client.get(client or "")
        if socket is not None and client not in self._muted_clients:
            await self._send(socket, json.dumps({"type": kind, "data": data}))

    async def broadcast(self, kind: str, data: Mapping[str, object]) -> None:
        """Send to all sockets."""
        text = json.dumps({"type": kind, "data": data})
        for client, socket in list(self._by_client.items()):
            if client not in self._muted_clients:
                await self._send(socket, text)

    async def spray(self, client: str | None, kind: str, data: Mapping[str, object]) -> None:
        """Send progress: to the client, or to all when the prompt has none."""
        if client is None:
            await self.broadcast(kind, data)
        else:
            await self.send(client, kind, data)

    async def preview(
        self, client: str | None, image: bytes, kind: int, node: str, prompt_id: str
    ) -> None:
        """Send a preview to the client, or to all when the prompt has none."""
        for receiver in [client] if client is not None else list(self._by_client):
            frame = struct.pack(">II", 1, kind) + image
            if receiver in self._wants_metadata:
                frame = _with_metadata(image, node, prompt_id)
            await self._send_bytes(receiver, frame)

    async def text(self, client: str | None, node: str, text: str) -> None:
        """Send a node's text to the client, or to all when the prompt has none."""
        name = node.encode()
        frame = struct.pack(">II", 3, len(name)) + name + text.encode()
        for receiver in [client] if client is not None else list(self._by_client):
            await self._send_bytes(receiver, frame)

    async def _send_bytes(self, client: str | None, frame: bytes) -> None:
        socket = self._by_client.get(client or "")
        if socket is not None and client not in self._muted_clients:
            await self._send(socket, frame)

    async def _send(self, socket: web.WebSocketResponse, frame: str | bytes) -> None:
        if self._muted or socket.closed:
            return
        try:
            if isinstance(frame, str):
                await socket.send_str(frame)
            else:
                await socket.send_bytes(frame)
        except (ConnectionError, RuntimeError):
            return  # it closes just now

    def mute(self, client: str | None) -> None:
        """Send nothing from now on, to one client or to all; sockets stay open and answer pings."""
        if client is None:
            self._muted = True
        else:
            self._muted_clients.add(client)

    def unmute(self) -> None:
        """Send to all clients again."""
        self._muted = False
        self._muted_clients.clear()

    def drop(self) -> None:
        """Cut all sockets without a close frame."""
        for socket in list(self._open):
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()


FEATURES: dict[str, object] = {"supports_preview_metadata": True, "max_upload_size": 104857600}

_tasks: set[asyncio.Task[None]] = set()


def _spawn(sending: object) -> None:
    task = asyncio.ensure_future(sending)  # type: ignore[call-overload]
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def _status(remaining: int) -> dict[str, object]:
    return {"status": {"exec_info": {"queue_remaining": remaining}}}


def _with_metadata(image: bytes, node: str, prompt_id: str) -> bytes:
    about = json.dumps(
        {
            "node_id": node,
            "prompt_id": prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
            "image_type": "image/jpeg",
        }
    ).encode()
    return struct.pack(">II", 4, len(about)) + about + image
