"""Files of attempts: whole, from the server that took the attempt, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import anyio
import pytest

from everfold.runner.backend import (
    DownloadBroken,
    OutputAnswer,
    OutputBody,
    OutputFile,
    OutputGone,
    Unreachable,
)
from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.hostile.raw_server import Exchange, RawServer, raw_server
from tests.comfyui.recordings.replay_server import ReplayServer

pytestmark = pytest.mark.anyio

ENDED_S = 1_800_000_000
FILE = OutputFile("output", "x/y", "a b_00001_.png", written_by_ms=ENDED_S * 1000 + 500)
TEMP = OutputFile("temp", "", "p.png", written_by_ms=ENDED_S * 1000 + 500)
BOOT, SERVER = "boot-1", "server-00000000-0000-0000-0000-000000000001"
BODY = b"png" * 100_000

Serve = Callable[[Exchange], Awaitable[None]]


class Place:
    """A server that answers as `serve` says for files; `boot` and `identity` are what it has."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.boot, self.identity = BOOT, SERVER
        self.asked = list[str]()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read_request()
        asked = exchange.received.split(b"\r\n")[0].decode()
        if "filename=boot-" in asked:
            await self._tell(exchange, self.boot if self.boot in asked else "")
        elif "filename=server.txt" in asked:
            await self._tell(exchange, self.identity)
        else:
            self.asked.append(asked)
            await self._serve(exchange)

    async def _tell(self, exchange: Exchange, text: str) -> None:
        await exchange.answer(200 if text else 404, text.encode(), b"Connection: close\r\n")


async def whole(exchange: Exchange) -> None:
    await exchange.answer(200, BODY, b"Connection: close\r\n")


def dated(modified_s: int) -> bytes:
    return f"Last-Modified: {formatdate(modified_s, usegmt=True)}\r\n".encode()


def whole_with(headers: bytes) -> Serve:
    async def serve(exchange: Exchange) -> None:
        await exchange.answer(200, BODY, headers + b"Connection: close\r\n")

    return serve


async def read(backend: ComfyBackend, file: OutputFile) -> bytes | OutputAnswer:
    async with backend.open_output(file, BOOT, SERVER) as answer:
        if isinstance(answer, OutputBody):
            return b"".join([chunk async for chunk in answer.chunks])
        return answer


@asynccontextmanager
async def placed(serve: Serve) -> AsyncIterator[tuple[ComfyBackend, Place]]:
    place = Place(serve)
    server: RawServer
    async with raw_server(place) as server:
        backend = ComfyBackend(server.url, timeout_s=2.0)
        yield backend, place
        await backend.aclose()


async def test_a_file_is_streamed_under_the_name_that_the_server_gave() -> None:
    async with placed(whole) as (backend, place):
        async with backend.open_output(FILE, BOOT, SERVER) as answer:
            assert isinstance(answer, OutputBody)
            assert answer.size_bytes == len(BODY)
            assert b"".join([chunk async for chunk in answer.chunks]) == BODY
        assert place.asked == [
            "GET /view?filename=a+b_00001_.png&type=output&subfolder=x%2Fy HTTP/1.1"
        ]


async def test_a_web_page_in_the_place_of_a_picture_is_no_picture() -> None:
    async def page(exchange: Exchange) -> None:
        headers = b"Content-Type: text/html; charset=utf-8\r\nConnection: close\r\n"
        await exchange.answer(200, b"<html>please log in</html>", headers)

    async with placed(page) as (backend, _):
        async with backend.open_output(FILE, BOOT, SERVER) as answer:
            assert answer == Unreachable("GET /view answered with a web page")
        named = OutputFile("output", "", "report.HTML")
        async with backend.open_output(named, BOOT, SERVER) as answer:
            assert isinstance(answer, OutputBody)


@pytest.mark.parametrize(
    "modified",
    [
        pytest.param(dated(ENDED_S - 86_400), id="a cache had it"),
        pytest.param(dated(ENDED_S), id="in its last second"),
        pytest.param(dated(ENDED_S + 1), id="in its last second, rounded up"),
    ],
)
async def test_of_a_server_that_has_restarted_files_count_that_are_no_younger_than_their_attempt(
    modified: bytes,
) -> None:
    async with placed(whole_with(modified)) as (backend, place):
        place.boot = "boot-2"
        assert await read(backend, FILE) == BODY


@pytest.mark.parametrize(
    "modified",
    [
        pytest.param(dated(ENDED_S + 2), id="just later"),
        pytest.param(dated(ENDED_S + 86_400), id="later"),
        pytest.param(b"", id="no header"),
        pytest.param(b"Last-Modified: lately\r\n", id="no time"),
        pytest.param(b"Last-Modified: Fri, 01 Jan 2027 00:00:00 +9999999999\r\n", id="no zone"),
    ],
)
async def test_of_a_server_that_has_restarted_files_are_gone_that_another_prompt_may_have_written(
    modified: bytes,
) -> None:
    async with placed(whole_with(modified)) as (backend, place):
        assert await read(backend, FILE) == BODY
        place.boot = "boot-2"
        assert await read(backend, FILE) == OutputGone()


async def test_of_a_server_that_has_restarted_previews_are_gone_and_what_has_no_known_end() -> None:
    async with placed(whole_with(dated(ENDED_S - 60))) as (backend, place):
        place.boot = "boot-2"
        undated = OutputFile(FILE.kind, FILE.subfolder, FILE.filename)
        for file in (TEMP, undated):
            assert await read(backend, file) == OutputGone()
        assert place.asked == []


async def test_a_restart_of_which_nobody_knows_whose_server_it_is_makes_files_unreachable() -> None:
    async with placed(whole_with(dated(ENDED_S))) as (backend, place):
        place.boot = "boot-2"
        for unknown in ("", "host:other"):
            async with backend.open_output(FILE, BOOT, unknown) as answer:
                assert isinstance(answer, Unreachable)


@pytest.mark.parametrize("is_later", [False, True])
async def test_a_file_that_comes_as_the_server_restarts_counts_if_it_was_there(
    *, is_later: bool
) -> None:
    place: Place

    async def restarted(exchange: Exchange) -> None:
        place.boot = "boot-2"
        await whole_with(dated(ENDED_S + (60 if is_later else 0)))(exchange)

    async with placed(restarted) as (backend, place):
        if is_later:
            with pytest.raises(DownloadBroken, match="another prompt"):
                await read(backend, FILE)
            assert await read(backend, FILE) == OutputGone()
        else:
            assert await read(backend, FILE) == BODY


async def test_nothing_is_asked_of_another_server_at_the_same_address() -> None:
    async with placed(whole) as (backend, place):
        for identity in ("", SERVER[:-1] + "2"):
            place.boot, place.identity = "boot-2", identity
            async with backend.open_output(FILE, BOOT, SERVER) as answer:
                assert answer == Unreachable("another server answers there")
        assert place.asked == []


@pytest.mark.parametrize("status", [200, 404])
async def test_an_answer_of_a_server_that_came_in_between_does_not_count(status: int) -> None:
    place: Place

    async def replaced(exchange: Exchange) -> None:
        place.boot, place.identity = "boot-2", SERVER[:-1] + "2"
        await exchange.answer(status, BODY, b"Connection: close\r\n")

    async with (
        placed(replaced) as (backend, place),
        backend.open_output(FILE, BOOT, SERVER) as answer,
    ):
        if status == 404:
            assert answer == Unreachable("another server answers there")
        else:
            assert isinstance(answer, OutputBody)
            with pytest.raises(DownloadBroken, match="another server"):
                [chunk async for chunk in answer.chunks]


@pytest.mark.parametrize("status", [301, 401, 403, 429, 500, 503, 206])
async def test_a_server_in_trouble_is_not_a_missing_file(
    server: ReplayServer, backend: ComfyBackend, status: int
) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.answer(status, b"no", b"Connection: close\r\n")

    async with placed(serve) as (backend, _), backend.open_output(FILE, BOOT, SERVER) as answer:
        assert answer == Unreachable(f"GET /view answered {status}")


@pytest.mark.parametrize("status", [400, 404])
async def test_a_file_that_the_server_does_not_have_is_gone(status: int) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.answer(status, b"no", b"Connection: close\r\n")

    async with placed(serve) as (backend, _), backend.open_output(FILE, BOOT, SERVER) as answer:
        assert answer == OutputGone()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 1000\r\n", b"half"),
        (b"Content-Length: 1000\r\nConnection: close\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n0\r\n\r\n"),
        (b"Content-Length: 4\r\nContent-Encoding: gzip\r\n", b"half"),
        (b"Content-Length: -4\r\n", b"half"),
        (b"Content-Length: 4, 5\r\n", b"half"),
        (b"Content-Length: " + b"9" * 40 + b"\r\n", b"half"),
        (b"", b"no length, and the end may be anywhere"),
    ],
)
async def test_a_body_of_which_nobody_knows_that_it_is_whole_does_not_count(
    head: bytes, body: bytes
) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.stream.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)

    async with placed(serve) as (backend, _), backend.open_output(FILE, BOOT, SERVER) as answer:
        if isinstance(answer, OutputBody):
            with pytest.raises(DownloadBroken):
                [chunk async for chunk in answer.chunks]
        else:
            assert isinstance(answer, Unreachable)


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_body_that_trickles_or_stands_still_is_given_up(
    monkeypatch: pytest.MonkeyPatch, *, is_silent: bool
) -> None:
    monkeypatch.setattr("everfold.runner.comfyui.files.download.SILENCE_S", 0.2)

    async def serve(exchange: Exchange) -> None:
        await exchange.stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        while not is_silent:
            await exchange.stream.send(b"x")
            await anyio.sleep(0.01)
        await anyio.sleep_forever()

    async with placed(serve) as (backend, _), backend.open_output(FILE, BOOT, SERVER) as answer:
        assert isinstance(answer, OutputBody)
        with anyio.fail_after(10), pytest.raises(DownloadBroken, match=r"Timeout|too slow"):
            [chunk async for chunk in answer.chunks]


async def test_a_slow_reader_is_not_a_slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everfold.runner.comfyui.files.download.SILENCE_S", 0.3)
    monkeypatch.setattr("everfold.runner.comfyui.files.download.LEAST_RATE", 10**9)
    monkeypatch.setattr("everfold.runner.comfyui.files.download.BLOCK_BYTES", 50_000)
    async with placed(whole) as (backend, _), backend.open_output(FILE, BOOT, SERVER) as answer:
        assert isinstance(answer, OutputBody)
        size = 0
        async for chunk in answer.chunks:
            size += len(chunk)
            await anyio.sleep(0.1)
        assert size == len(BODY)
