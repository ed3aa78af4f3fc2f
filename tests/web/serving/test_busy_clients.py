"""Clients that are busy with something else and read their websocket later, as with ComfyUI."""

from __future__ import annotations

import asyncio
import base64
import json
import os

import httpx
import pytest

from everfold import Everfold
from everfold.web.serving import gateway_server
from tests.support.programs.stack import Stack, sleeper
from tests.web.site import client_of, serving

pytestmark = pytest.mark.anyio

TEXT, PING = 1, 9


class BusyClient:
    """A websocket that answers no pings, as that of a script which does something else."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame: what it is, and what is in it."""
        first, size = await self._reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2), "big")
        return first & 15, await self._reader.readexactly(size)

    async def pings(self, count: int) -> None:
        """Wait until so many pings have come."""
        while count:
            kind, _ = await self.frame()
            count -= kind == PING

    async def message(self) -> dict[str, object]:
        while True:
            kind, content = await self.frame()
            assert kind in (TEXT, PING)
            if kind == TEXT:
                return dict(json.loads(content))


async def busy_client(url: str) -> tuple[BusyClient, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        (
            f"GET /ws?clientId=busy HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return BusyClient(reader), writer


async def queued(client: httpx.AsyncClient) -> None:
    answer = await client.post("/prompt", json={"prompt": sleeper(1), "client_id": "busy"})
    assert answer.status_code == 200


async def test_a_client_that_answers_no_pings_is_told_all_the_same(
    everfold: Everfold, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_server, "PING_EVERY_S", 0.05)
    async with serving(everfold, stack) as site, client_of(site) as http, asyncio.timeout(15):
        client, writer = await busy_client(site.url)
        try:
            assert (await client.message())["type"] == "status"
            await client.pings(10)
            await queued(http)
            told = await client.message()
            assert told["data"] == {"status": {"exec_info": {"queue_remaining": 1}}}
        finally:
            writer.close()
