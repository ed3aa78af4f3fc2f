"""Files and descriptions over HTTP, and what a broken download looks like."""

from __future__ import annotations

import anyio
import pytest

from everfold.runner.backend import Unreachable
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.comfyui.http import Answer
from tests.comfyui.hostile.raw_server import Exchange, raw_server
from tests.comfyui.recordings.replay_server import ReplayServer

pytestmark = pytest.mark.anyio


async def test_an_upload_can_be_read_back(server: ReplayServer, backend: ComfyBackend) -> None:
    answer = await backend.http.upload("in.png", b"\x89PNG", kind="input", subfolder="a")
    assert isinstance(answer, Answer)
    assert answer.json() == {"name": "in.png", "subfolder": "", "type": "input"}
    assert server.files == {"in.png": b"\x89PNG"}
    assert await backend.http.small_file("in.png", kind="input") == Answer(200, b"\x89PNG")


async def test_each_question_has_its_path() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.answer(200, b'{"n": NaN}', b"Connection: close\r\n")

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url)
        http = backend.http
        for answer in (
            await http.system_stats(),
            await http.queue(),
            await http.history("a/2"),
        ):
            assert isinstance(answer, Answer)
            assert answer.json() == {"n": None}
        await backend.aclose()
    assert [exchange.received.split(b" ")[1] for exchange in server.exchanges] == [
        b"/system_stats",
        b"/queue",
        b"/history/a%2F2",
    ]


async def test_an_answer_that_trickles_is_given_up() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            await exchange.stream.send(b" ")
            await anyio.sleep(0.01)

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url, timeout_s=0.3)
        with anyio.fail_after(5):
            assert isinstance(await backend.http.queue(), Unreachable)
        await backend.aclose()
