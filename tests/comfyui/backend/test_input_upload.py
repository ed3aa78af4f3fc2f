"""A file is at a server only when its bytes were read back from there, whatever the server says."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from aiohttp import BodyPartReader, web
from blake3 import blake3

from everfold.runner.backend import InputFile, NotPlaced, Placed, Unreachable
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.comfyui.files import input_upload
from everfold.runner.comfyui.files.input_upload import file_name

pytestmark = pytest.mark.anyio

MIB = 2**20
CONTENT = bytes(range(256)) * 400
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def file_of(content: bytes, name: str = "photo.png") -> InputFile:
    digest = f"blake3:{blake3(content).hexdigest()}"
    return InputFile(hash=digest, size_bytes=len(content), name=name, media_type="image/png")


FILE = file_of(CONTENT)
DIGITS = FILE.hash.removeprefix("blake3:")
SENT = f"everfold/{DIGITS}.png"


class Server:
    """Takes uploads without keeping them in memory, and gives back what it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.received = 0
        self.posts = 0
        self.there: bytes | None = None
        self.upload: Answer = self.take
        self.view: Answer = self.give
        self.features: dict[str, object] = {}

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.posts += 1
        fields = dict[str, bytes]()
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            content = b""
            while chunk := await part.read_chunk(64 * 1024):
                self.received += len(chunk)
                content = content + chunk if len(content) < MIB else content
            fields[str(part.name)] = content
        self.there = fields["image"]
        assert fields["overwrite"] == b"false"
        told = {"name": f"{DIGITS}.png", "subfolder": "everfold", "type": "input"}
        return web.json_response(told)

    async def give(self, request: web.Request) -> web.StreamResponse:
        assert request.query["type"] == "input"
        if self.there is None:
            return web.Response(status=404)
        return web.Response(body=self.there)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        return await self.upload(request)

    async def _view(self, request: web.Request) -> web.StreamResponse:
        return await self.view(request)

    async def _features(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.features)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[ComfyBackend]:
        app = web.Application(client_max_size=2**40)
        app.router.add_post("/upload/image", self._upload)
        app.router.add_get("/view", self._view)
        app.router.add_get("/features", self._features)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        backend = ComfyBackend(f"http://user:hunter2@127.0.0.1:{runner.addresses[0][1]}")
        try:
            yield backend
        finally:
            await backend.aclose()
            await runner.cleanup()


@pytest.fixture
def server() -> Server:
    return Server()


@asynccontextmanager
async def content() -> AsyncIterator[AsyncIterator[bytes]]:
    async def each() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 1000):
            yield CONTENT[start : start + 1000]

    yield each()


@asynccontextmanager
async def never_opened() -> AsyncIterator[AsyncIterator[bytes]]:
    async def each() -> AsyncIterator[bytes]:
        assert not CONTENT, "the file was read"
        yield b""

    yield each()


def stays(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=status, body=body, headers=headers)

    return answer


async def test_a_file_is_sent_once_and_then_found(server: Server) -> None:
    async with server.listening() as backend:
        assert await backend.place_input(FILE, content) == Placed(SENT)
        assert server.there == CONTENT
        assert await backend.has_input(FILE, SENT)
        assert await backend.place_input(FILE, never_opened) == Placed(SENT)
        assert server.posts == 1
        server.there = CONTENT[:-1]
        assert not await backend.has_input(FILE, SENT)
        server.there = None
        assert not await backend.has_input(FILE, SENT)


async def test_a_large_file_is_never_far_ahead_of_the_server(server: Server) -> None:
    size, chunk = 192 * MIB, bytes(MIB)
    hasher = blake3()
    for _ in range(size // MIB):
        hasher.update(chunk)
    large = InputFile(
        hash=f"blake3:{hasher.hexdigest()}", size_bytes=size, name="v.mp4", media_type="video/mp4"
    )
    name = {"name": file_name(large), "subfolder": "everfold"}
    ahead = 0

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        async def each() -> AsyncIterator[bytes]:
            nonlocal ahead
            for number in range(size // MIB):
                ahead = max(ahead, number * MIB - server.received)
                yield chunk

        yield each()

    async def upload(request: web.Request) -> web.StreamResponse:
        await server.take(request)
        return web.json_response(name)

    async def view(request: web.Request) -> web.StreamResponse:
        if not server.received:
            return web.Response(status=404)
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        for _ in range(size // MIB):
            await response.write(chunk)
        return response

    server.upload, server.view = upload, view
    async with server.listening() as backend:
        assert await backend.place_input(large, opened) == Placed(f"everfold/{name['name']}")
    assert server.received >= size
    assert ahead < 16 * MIB


async def test_a_file_over_the_known_limit_is_not_sent_at_all(server: Server) -> None:
    server.features = {"max_upload_size": 100 * MIB}
    large = InputFile(hash=FILE.hash, size_bytes=100 * MIB, name="v.mp4", media_type="video/mp4")
    async with server.listening() as backend:
        outcome = await backend.place_input(large, never_opened)
    assert isinstance(outcome, NotPlaced)
    assert "takes 104,857,600 bytes at most; v.mp4 has 104,857,600" in outcome.why
    assert "--max-upload-size" in outcome.why
    assert server.posts == 0


@pytest.mark.parametrize("features", [{}, {"max_upload_size": "x"}, {"max_upload_size": -1}])
async def test_an_answer_of_413_says_what_to_do(
    server: Server, features: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_upload, "ASK_ABOVE_BYTES", 1)
    server.features, server.upload = features, stays(413, b"too large")
    async with server.listening() as backend:
        outcome = await backend.place_input(FILE, content)
    assert isinstance(outcome, NotPlaced)
    assert "answered 413: too large" in outcome.why
    assert "--max-upload-size" in outcome.why


GOOD = {"name": f"{DIGITS}.png", "subfolder": "everfold", "type": "input"}


@pytest.mark.parametrize(
    "told",
    [
        *({**GOOD, "name": "../../x.png"}, {**GOOD, "name": "/etc/passwd"}, {**GOOD, "name": 7}),
        *({**GOOD, "name": f"{DIGITS}/../x"}, {**GOOD, "name": f"{DIGITS}\n.png"}, {}, [], None),
        *({**GOOD, "name": "other.png"}, {**GOOD, "subfolder": ".."}, {**GOOD, "subfolder": "/a"}),
        *({**GOOD, "subfolder": "a/../.."}, {**GOOD, "type": "output"}, {"error": "no"}, "text"),
    ],
)
async def test_an_answer_that_names_no_file_of_ours_is_not_believed(
    server: Server, told: object
) -> None:
    server.upload = stays(200, json.dumps(told).encode())
    async with server.listening() as backend:
        outcome = await backend.place_input(FILE, content)
    assert isinstance(outcome, NotPlaced)
    assert "is not understood" in outcome.why


@pytest.mark.parametrize("status", [201, 302, 400, 401, 403, 404, 429, 500, 503])
async def test_a_refusal_is_no_place_and_shows_no_secret(server: Server, status: int) -> None:
    server.upload = stays(status, b"Basic dXNlcjpodW50ZXIy", Location="http://127.0.0.1:1/")
    async with server.listening() as backend:
        outcome = await backend.place_input(FILE, content)
    assert isinstance(outcome, NotPlaced)
    assert f"answered {status}" in outcome.why
    assert "hunter2" not in outcome.why


@pytest.mark.parametrize("kept", [CONTENT[:-1], CONTENT + b"x", b"", b"x" * len(CONTENT), None])
async def test_other_bytes_than_were_sent_are_noticed(server: Server, kept: bytes | None) -> None:
    async def upload(request: web.Request) -> web.StreamResponse:
        response = await server.take(request)
        server.there = kept
        return response

    server.upload = upload
    async with server.listening() as backend:
        outcome = await backend.place_input(FILE, content)
    assert isinstance(outcome, NotPlaced)
    assert server.posts == input_upload.TRIES


async def test_a_numbered_name_is_the_one_that_counts(server: Server) -> None:
    async def upload(request: web.Request) -> web.StreamResponse:
        await server.take(request)
        return web.json_response({**GOOD, "name": f"{DIGITS} (1).png"})

    server.upload = upload
    async with server.listening() as backend:
        placed = await backend.place_input(FILE, content)
    assert placed == Placed(f"everfold/{DIGITS} (1).png")


@pytest.mark.parametrize(
    "answer", [stays(500), stays(200, CONTENT, **{"Content-Encoding": "gzip"})]
)
async def test_what_cannot_be_read_back_is_trouble_with_the_server(
    server: Server, answer: Answer
) -> None:
    server.view = answer
    async with server.listening() as backend:
        outcome = await backend.place_input(FILE, content)
    assert isinstance(outcome, Unreachable)
    assert outcome.why.startswith("GET /view")


async def test_silence_and_trickles_have_an_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_upload, "SILENCE_S", 0.3)
    monkeypatch.setattr(input_upload, "LEAST_RATE", MIB)

    async def hang(_: web.Request) -> web.StreamResponse:
        await anyio.sleep(60)
        return web.Response()

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(600):
                await response.write(b"x")
                await anyio.sleep(0.1)
        return response

    monkeypatch.setattr(input_upload, "ASK_WITHIN_S", 0.3)
    server.upload = hang
    async with server.listening() as backend:
        with anyio.fail_after(5):
            assert isinstance(await backend.place_input(FILE, content), Unreachable)
        server.view = hang
        with anyio.fail_after(5):
            asked = await backend.place_input(FILE, never_opened)
        assert isinstance(asked, Unreachable)
        assert asked.why.startswith("HEAD /view")
        server.upload, server.view = server.take, trickle
        with anyio.fail_after(5):
            assert isinstance(await backend.place_input(FILE, content), Unreachable)


async def test_a_file_that_cannot_be_read_is_sent_nowhere(server: Server) -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[AsyncIterator[bytes]]:
        async def each() -> AsyncIterator[bytes]:
            yield CONTENT[:1000]
            raise OSError("the disk is gone")

        yield each()

    async with server.listening() as backend:
        assert isinstance(await backend.place_input(FILE, broken), Unreachable)
    assert server.there is None


@pytest.mark.parametrize(
    ("name", "kind", "ending"),
    [
        *(("a.PNG", "", "png"), ("a.tar.gz", "", "gz"), ("a", "image/jpeg", "jpg")),
        *(("a.b c", "video/mp4", "mp4"), ("a.é", "x", "bin"), ("a.", "audio/mpeg", "mp3")),
        *((".png", "", "bin"), ("a.toolongending", "image/webp", "webp"), ("a.p/../ng", "", "bin")),
        ("a", "IMAGE/PNG; x=1", "png"),
    ],
)
def test_the_name_at_the_server_is_the_hash_with_a_plain_ending(
    name: str, kind: str, ending: str
) -> None:
    file = InputFile(hash=FILE.hash, size_bytes=1, name=name, media_type=kind)
    assert file_name(file) == f"{DIGITS}.{ending}"
