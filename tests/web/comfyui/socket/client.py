"""A client of the gateway's websocket, that keeps what it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.programs.programs import Program
from tests.support.wait import eventually

PASSES_ON = "live_channel is_open=True"
"""What a runner logs."""

Message = tuple[str, dict[str, Any]]


class SocketClient:
    """One connected socket; binary frames are kept as ("binary", {"bytes": ...})."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        self.closed: tuple[int, str] | None = None

    async def read(self) -> None:
        try:
            async for frame in self.connection:
                self.messages.append(read_frame(frame))
        except ConnectionClosed:
            pass
        close = self.connection.protocol
        self.closed = (close.close_code or 0, close.close_reason or "")

    @property
    def kinds(self) -> list[str]:
        """Return the types, `executing` with its node, without progress and status."""
        return [
            f"{kind} {data['node']}" if kind == "executing" else kind
            for kind, data in self.messages
            if kind not in ("progress", "progress_state", "status", "binary")
        ]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for found, data in self.messages if found == kind]

    def of_prompt(self, prompt_id: str) -> list[Message]:
        return [one for one in self.messages if one[1].get("prompt_id") == prompt_id]

    async def until(self, is_so: Callable[[Message], bool], within_s: float = 30) -> None:
        await eventually(lambda: any(map(is_so, self.messages)), within_s)

    async def until_over(self, count: int = 1, within_s: float = 30) -> None:
        """Wait until so many prompts are over."""
        await eventually(lambda: len(self.ends) >= count, within_s)

    @property
    def ends(self) -> list[dict[str, Any]]:
        return [data for data in self.of("executing") if data["node"] is None]


async def heard(runner: Program) -> None:
    """Wait until a runner passes on what backends say, which it learns a moment after somebody has
    connected: of a job that begins before that the first words are missing."""
    await eventually(lambda: any(PASSES_ON in line for line in runner.error_lines), 20)


def read_frame(frame: str | bytes) -> Message:
    if isinstance(frame, bytes):
        return "binary", {"bytes": frame}
    message = json.loads(frame)
    return message["type"], message["data"]


@contextlib.asynccontextmanager
async def connected(url: str, client_id: str | None = None) -> AsyncIterator[SocketClient]:
    """Connect to a gateway; the first message, the status, has come."""
    query = "" if client_id is None else f"?clientId={client_id}"
    address = url.replace("http://", "ws://")
    async with connect(f"{address}/ws{query}", max_size=None, proxy=None) as connection:
        client = SocketClient(connection)
        reading = asyncio.create_task(client.read())
        try:
            await eventually(lambda: client.messages or client.closed, 10)
            yield client
        finally:
            await connection.close()
            await reading
