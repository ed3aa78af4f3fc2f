"""Reads server-sent events as a browser does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import msgspec
from msgspec import Struct

WITHIN_S = 20.0


class Message(Struct, frozen=True):
    id: str
    data: dict[str, object]

    @property
    def type(self) -> str:
        event = self.data["event"]
        assert isinstance(event, dict)
        return str(event["type"])


@contextlib.asynccontextmanager
async def messages(
    client: httpx.AsyncClient, path: str, last_id: str = ""
) -> AsyncIterator[AsyncIterator[Message]]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with client.stream("GET", path, headers=headers, timeout=WITHIN_S) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _read(answer)


async def _read(answer: httpx.Response) -> AsyncIterator[Message]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield Message(fields["id"], msgspec.json.decode(fields["data"]))
        fields = {}


async def all_of(client: httpx.AsyncClient, path: str, last_id: str = "") -> list[Message]:
    """Read until the server ends the stream."""
    async with asyncio.timeout(WITHIN_S), messages(client, path, last_id) as found:
        return [message async for message in found]


async def first_of(
    client: httpx.AsyncClient, path: str, count: int, last_id: str = ""
) -> list[Message]:
    """Read so many messages, and go away."""
    read: list[Message] = []
    async with asyncio.timeout(WITHIN_S), messages(client, path, last_id) as found:
        async for message in found:
            read.append(message)
            if len(read) == count:
                break
    return read
