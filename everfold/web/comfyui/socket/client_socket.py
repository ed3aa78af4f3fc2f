"""GET /ws: one client's socket, from its opening to its close.

Rule: what a client sends is bounded and mostly ignored, as ComfyUI does: it reads the first message
alone, which says what the client understands. A reader that is too slow is told to come again
later, and is cut off where it does not even take that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import Struct
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.live.live_message import Preview
from everfold.web.caller import EVERYBODY, Caller
from everfold.web.comfyui.refusal import refusal
from everfold.web.comfyui.server.features import Features
from everfold.web.comfyui.socket.frames import (
    Frame,
    NodeWords,
    Picture,
    StoredPicture,
    Text,
    picture_frame,
    text_of,
)
from everfold.web.comfyui.socket.hub import Member
from everfold.web.comfyui.socket.outbox import MOST_BYTES, Outbox
from everfold.web.problem import Problem, problem_of

if TYPE_CHECKING:
    from everfold.web.gateway import Gateway

logger = get_logger("everfold.web")

SOCKET_PATHS = ("/ws", "/api/ws")

MOST_SOCKETS = 500
"""Of one caller at one gateway."""
CLIENT_ID_LIMIT = 1_000
"""Characters."""
MESSAGE_LIMIT = 64 * 1024
"""Characters of a message from a client."""
MOST_MESSAGES_PER_S = 50
CLOSE_WITHIN_S = 1.0

TRY_AGAIN_LATER, TOO_BIG, MISBEHAVES = 1013, 1009, 1008
"""Close codes of websockets."""


class _Wishes(Struct, frozen=True):
    supports_preview_metadata: bool = False


class _FirstMessage(Struct, frozen=True):
    type: str
    data: _Wishes = _Wishes()


_read_first = decoder(_FirstMessage)


class _Misbehaves(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


async def serve_socket(gateway: Gateway, websocket: WebSocket) -> None:
    """Serve a client's socket until it closes, is too slow, or the gateway stops."""
    caller: Caller = getattr(websocket.state, "caller", EVERYBODY)
    client_id = websocket.query_params.get("clientId") or uuid4().hex
    member = Member(caller, client_id, Outbox())
    try:
        _check(gateway, member)
        with gateway.feeds.looking():
            await gateway.hub.join(member)
            try:
                await websocket.accept()
                await _ClientSocket(gateway, websocket, member).run()
            finally:
                gateway.hub.leave(member)
    except (EverfoldError, Problem) as error:
        problem = problem_of(error)
        if problem is not None and websocket.client_state is WebSocketState.CONNECTING:
            await websocket.send_denial_response(refusal(problem))


def _check(gateway: Gateway, member: Member) -> None:
    if not member.caller.may("reader"):
        raise Problem(403, "forbidden", "this key may not look")
    if len(member.client_id) > CLIENT_ID_LIMIT:
        message = f"a clientId has {CLIENT_ID_LIMIT} characters at most"
        raise Problem(400, "invalid_request", message)
    if gateway.hub.of_caller(member.caller) >= MOST_SOCKETS:
        message = f"this key has {MOST_SOCKETS} sockets here already; close some"
        raise Problem(429, "too_many_sockets", message, retry_after_s=5)


class _ClientSocket:
    def __init__(self, gateway: Gateway, websocket: WebSocket, member: Member) -> None:
        self._gateway = gateway
        self._websocket = websocket
        self._member = member
        self._wants_metadata = False

    async def run(self) -> None:
        """Send and receive until either side is done."""
        parts = (self._send_all(), self._receive_all(), self._watch_bounds(), self._catch_up())
        error = await _first_error(*parts)
        if isinstance(error, _Misbehaves):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await self._websocket.close(error.code)
        elif not isinstance(error, WebSocketDisconnect | None):
            logger.debug("socket_ended why=%r", error)

    async def _catch_up(self) -> None:
        await self._gateway.hub.catch_up(self._member)
        await asyncio.Event().wait()

    async def _watch_bounds(self) -> None:
        await self._member.outbox.overfull()
        logger.info("socket_too_slow user=%r", self._member.caller.user)
        raise _Misbehaves(TRY_AGAIN_LATER)

    async def _send_all(self) -> None:
        while True:
            await self._send(await self._member.outbox.next())

    async def _send(self, frame: Frame) -> None:
        match frame:
            case Text(text=text):
                await self._websocket.send_text(text)
            case NodeWords():
                await self._websocket.send_bytes(frame.frame())
            case Picture():
                await self._send_picture(frame.frame(with_metadata=self._wants_metadata))
            case StoredPicture():
                preview = Preview(frame.node, frame.media_type, await self._stored(frame))
                if preview.image:
                    metadata = self._wants_metadata
                    made = picture_frame(frame.prompt_id, preview, with_metadata=metadata)
                    await self._send_picture(made)

    async def _send_picture(self, made: bytes | None) -> None:
        if made is not None:
            await self._websocket.send_bytes(made)

    async def _stored(self, frame: StoredPicture) -> bytes:
        """Return a stored picture; nothing where it is gone, or larger than any that came so."""
        found = bytearray()
        try:
            async with self._gateway.everfold.assets.open(frame.content_hash) as chunks:
                async for chunk in chunks:
                    found += chunk
                    if len(found) > MOST_BYTES:
                        return b""
        except EverfoldError as error:
            logger.warning("picture_missed hash=%s why=%r", frame.content_hash, str(error))
            return b""
        return bytes(found)

    async def _receive_all(self) -> None:
        loop, is_first = asyncio.get_running_loop(), True
        second, count = 0, 0
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            second, count = (now, 0) if (now := int(loop.time())) != second else (second, count + 1)
            text = message.get("text") or ""
            if max(len(text), len(message.get("bytes") or b"")) > MESSAGE_LIMIT:
                raise _Misbehaves(TOO_BIG)
            if count > MOST_MESSAGES_PER_S:
                raise _Misbehaves(MISBEHAVES)
            if is_first:
                self._negotiate(text)
            is_first = False

    def _negotiate(self, text: str) -> None:
        try:
            first = _read_first(text)
        except NotJson:
            return
        if first.type == "feature_flags":
            self._wants_metadata = first.data.supports_preview_metadata
            limit = self._gateway.settings.upload_limit_bytes
            self._member.outbox.put(text_of("feature_flags", Features(max_upload_size=limit)))


async def _first_error(*parts: Coroutine[object, object, None]) -> BaseException | None:
    """Run all parts until the first one ends; return with what it ended."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return next(task.exception() for task in done)
