"""A plain client of a simulator: one websocket that keeps all it gets, and HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from everfold.simulator import Simulator
from tests.support.wait import eventually

Message = dict[str, object]


class Socket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.messages: list[Message] = []
        self.binary: list[bytes] = []
        self.is_closed = False

    async def read(self) -> None:
        try:
            async for frame in self._connection:
                if isinstance(frame, str):
                    self.messages.append(json.loads(frame))
                else:
                    self.binary.append(frame)
        except ConnectionClosed:
            pass
        self.is_closed = True

    async def send(self, message: Mapping[str, object]) -> None:
        await self._connection.send(json.dumps(message))

    async def close(self) -> None:
        await self._connection.close()

    async def ping(self) -> None:
        await (await self._connection.ping())

    def of(self, prompt_id: str) -> list[Message]:
        return [m for m in self.messages if _data(m).get("prompt_id") == prompt_id]

    def types(self, prompt_id: str) -> list[str]:
        return [str(message["type"]) for message in self.of(prompt_id)]

    async def until_end_of(self, prompt_id: str, within_s: float = 20.0) -> None:
        def ended() -> bool:
            return any(
                m["type"] == "executing" and _data(m).get("node") is None
                for m in self.of(prompt_id)
            )

        await eventually(ended, within_s)


def _data(message: Message) -> dict[str, object]:
    data = message.get("data")
    return data if isinstance(data, dict) else {}


class Client:
    def __init__(self, simulator: Simulator, http: httpx.AsyncClient) -> None:
        self.simulator, self.http = simulator, http

    async def post(self, graph: object, **more: object) -> httpx.Response:
        return await self.http.post("/prompt", json={"prompt": graph, **more})

    async def get(self, path: str) -> object:
        return (await self.http.get(path)).json()

    async def fault(self, name: str, **options: object) -> None:
        answer = await self.http.post("/simulator/faults", json={"fault": name, **options})
        assert answer.status_code == 200, answer.text

    @asynccontextmanager
    async def socket(self, client_id: str) -> AsyncIterator[Socket]:
        url = self.simulator.url.replace("http", "ws", 1)
        async with connect(f"{url}/ws?clientId={client_id}", max_size=None) as connection:
            socket = Socket(connection)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(socket.read)
                await eventually(lambda: socket.messages or socket.is_closed)
                yield socket
                tasks.cancel_scope.cancel()

    async def history(self, prompt_id: str) -> dict[str, object] | None:
        found = await self.get(f"/history/{prompt_id}")
        assert isinstance(found, dict)
        entry = found.get(prompt_id)
        assert entry is None or isinstance(entry, dict)
        return entry

    async def until_in_history(self, prompt_id: str, within_s: float = 20.0) -> dict[str, object]:
        entry = await eventually(lambda: self.history(prompt_id), within_s)
        assert entry is not None
        return entry


@asynccontextmanager
async def client_of(simulator: Simulator) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(base_url=simulator.url, timeout=20) as http:
        yield Client(simulator, http)
