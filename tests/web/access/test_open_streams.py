"""Streams end from outside, as their clients expect it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from everfold.web.access.open_streams import STOPPED, OpenStreams, Stream
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def endless(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        await anyio.sleep_forever()

    return StreamingResponse(lines(), media_type="text/event-stream")


async def flood(request: Request) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        while True:
            yield b"data: " + b"x" * 65536 + b"\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def slow(request: Request) -> Response:
    await anyio.sleep(0.5)
    return PlainTextResponse("done")


async def socket_of_all(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await anyio.sleep_forever()


ROUTES = [
    Route("/endless", endless),
    Route("/flood", flood),
    Route("/slow", slow),
    WebSocketRoute("/ws", socket_of_all),
]


class Streaming:
    """The part of a gate that is about streams."""

    def __init__(self, app: ASGIApp, streams: OpenStreams) -> None:
        self.app, self.streams = app, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Stream(self.streams, scope, send).run(self.app, scope, receive)


@contextlib.asynccontextmanager
async def serving(streams: OpenStreams) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    app = Starlette(routes=ROUTES, middleware=[Middleware(Streaming, streams)])
    taken = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    running = asyncio.create_task(server.serve([taken]))
    try:
        await eventually(lambda: server.started, 10)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}", server
    finally:
        streams.close()
        server.should_exit = True
        await running


async def test_events_end_as_if_complete_and_a_websocket_is_closed() -> None:
    streams = OpenStreams()
    async with (
        serving(streams) as (url, _),
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/endless") as events,
        connect(url.replace("http", "ws") + "/ws") as watcher,
    ):
        lines = events.aiter_lines()
        assert await anext(lines) == "data: 1"
        assert await watcher.recv() == "hello"
        assert len(streams) == 2
        streams.close()
        assert [line async for line in lines if line] == []
        with pytest.raises(ConnectionClosed) as closed:
            await watcher.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == STOPPED
        await eventually(lambda: len(streams) == 0)


async def test_an_answer_under_way_is_not_cut() -> None:
    streams = OpenStreams()
    async with serving(streams) as (url, server), httpx.AsyncClient(base_url=url) as client:
        answer = asyncio.create_task(client.get("/slow"))
        await eventually(lambda: server.server_state.tasks)
        streams.close()
        assert (await answer).text == "done"


async def test_a_reader_that_takes_nothing_does_not_keep_a_stream_open() -> None:
    streams = OpenStreams()
    async with serving(streams) as (url, server):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            deaf.sendall(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
            await eventually(lambda: len(streams) == 1)
            await eventually(lambda: any(c.flow.write_paused for c in _http(server)))
            streams.close()
            await eventually(lambda: len(streams) == 0)
            await eventually(lambda: not server.server_state.tasks)


def _http(server: uvicorn.Server) -> list[HttpToolsProtocol]:
    return [c for c in server.server_state.connections if isinstance(c, HttpToolsProtocol)]


async def test_a_stream_of_a_stopped_gateway_ends_at_once() -> None:
    streams = OpenStreams()
    streams.close()
    async with serving(streams) as (url, _), httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/endless")).status_code == 200


async def test_only_streams_of_bad_keys_end() -> None:
    streams = OpenStreams()
    async with (
        serving(streams) as (url, _),
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/endless") as events,
    ):
        lines = events.aiter_lines()
        await anext(lines)
        streams.end_without(lambda key_id: key_id == "")
        assert len(streams) == 1
        streams.end_without(lambda key_id: False)
        assert [line async for line in lines if line] == []
