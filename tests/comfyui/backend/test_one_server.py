"""Several servers behind one address are noticed, and one that restarts is not taken for them."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from uuid import uuid4

import pytest
from aiohttp import web

from everfold.runner.backend import Accepted, Attempt, Load, Unreachable
from everfold.runner.comfyui import ComfyBackend, identity
from everfold.runner.comfyui.identity import CONNECTIONS, SEVERAL
from everfold.simulator import simulate
from tests.comfyui.recordings.replay_server import ReplayServer
from tests.support.programs.stack import sleeper
from tests.support.trouble.balancer import Balancer, balanced

pytestmark = pytest.mark.anyio

IDENTITIES = [f"server-{uuid4()}".encode() for _ in range(2)]


class OneTempFolder(dict[str, bytes]):
    """The files of a server that shares its temp folder with another one."""

    def __init__(self, temp: dict[str, bytes], own: bytes) -> None:
        super().__init__({"server.txt": own})
        self._temp = temp

    def __setitem__(self, name: str, content: bytes) -> None:
        if name.startswith("boot-"):
            self._temp[name] = content
        else:
            super().__setitem__(name, content)

    def get(self, name: str, default: object = None) -> bytes | None:  # type: ignore[override]
        return self._temp.get(name) or super().get(name)


class NoIdentity(ReplayServer):
    """A server whose input folder cannot be read."""

    async def _view(self, request: web.Request) -> web.Response:
        if request.query["filename"] == "server.txt":
            return web.Response(status=403)
        return await super()._view(request)


class RestartsOnce(ReplayServer):
    """A server whose files are wiped, as by a restart, at a read of this number."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    async def _view(self, request: web.Request) -> web.Response:
        if self.seen.count("GET /view") > self.at:
            self.at = sys.maxsize
            self.files.clear()
        return await super()._view(request)


@pytest.fixture
async def servers() -> AsyncIterator[list[ReplayServer]]:
    made = [ReplayServer(), ReplayServer()]
    for one in made:
        await one.start()
    yield made
    for one in made:
        await one.stop()


@asynccontextmanager
async def in_turn(*servers: ReplayServer) -> AsyncIterator[tuple[Balancer, ComfyBackend]]:
    """A backend whose connections reach one server after the other."""
    urls = [one.url for one in servers]
    async with (
        balanced(lambda number: urls[number % len(urls)]) as balancer,
        aclosing(ComfyBackend(balancer.url)) as backend,
    ):
        yield balancer, backend


async def assert_refused(backend: ComfyBackend) -> None:
    assert await backend.boot() == SEVERAL
    assert await backend.load() == SEVERAL
    assert await backend.truth(str(uuid4()), "") == SEVERAL


async def test_two_servers_at_one_address_are_refused(servers: list[ReplayServer]) -> None:
    async with in_turn(*servers) as (_, backend):
        await assert_refused(backend)


async def test_two_servers_with_one_input_folder_are_refused(servers: list[ReplayServer]) -> None:
    for one in servers:
        one.files["server.txt"] = IDENTITIES[0]
    async with in_turn(*servers) as (_, backend):
        await assert_refused(backend)


async def test_two_servers_with_one_temp_folder_are_refused(servers: list[ReplayServer]) -> None:
    temp = dict[str, bytes]()
    for one, own in zip(servers, IDENTITIES, strict=True):
        one.files = OneTempFolder(temp, own)
    async with in_turn(*servers) as (_, backend):
        await assert_refused(backend)


async def test_what_another_server_may_have_is_not_absent() -> None:
    """A second server comes later, and a POST reaches it."""
    async with (
        simulate() as first,
        simulate() as second,
        balanced(lambda _: first.url) as balancer,
        aclosing(ComfyBackend(balancer.url)) as backend,
    ):
        boot = await backend.boot()
        assert isinstance(boot, str)
        balancer.choose = lambda _: second.url
        attempt = Attempt(job_id="job-1", number=1, prompt_id=str(uuid4()), client_id="c")
        graph = json.dumps(sleeper(5)).encode()
        assert isinstance(await backend.submit(attempt, graph, lambda: True), Accepted)
        balancer.choose = lambda number: (first, second)[number % 2].url
        assert await backend.truth(attempt.prompt_id, boot) == SEVERAL
        assert await backend.load() == SEVERAL


@pytest.mark.parametrize("at", range(1 + 2 * CONNECTIONS))
async def test_a_restart_between_the_reads_is_no_second_server(at: int) -> None:
    server = RestartsOnce(at)
    await server.start()
    async with aclosing(ComfyBackend(server.url)) as backend:
        first = await backend.boot()
        assert isinstance(first, str)
        present = await backend.boot()
        assert f"{present}.txt" in server.files
        assert isinstance(await backend.load(), Load)
    await server.stop()


async def test_a_restarted_server_is_one(server: ReplayServer, backend: ComfyBackend) -> None:
    before = await backend.boot()
    await server.stop()
    await server.start()
    after = await backend.boot()
    assert isinstance(after, str)
    assert after != before
    assert isinstance(await backend.load(), Load)


async def test_one_that_has_the_address_to_itself_again_is_taken_back(
    servers: list[ReplayServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "DOUBTED_S", 0.0)
    async with in_turn(*servers) as (balancer, backend):
        await assert_refused(backend)
        uploads = sum(one.seen.count("POST /upload/image") for one in servers)
        assert await backend.load() == SEVERAL
        assert sum(one.seen.count("POST /upload/image") for one in servers) == uploads
        balancer.choose = lambda _: servers[0].url
        await balancer.cut()
        assert isinstance(await backend.load(), Load)
        assert isinstance(await backend.boot(), str)


async def test_a_server_is_one_by_two_addresses(server: ReplayServer) -> None:
    urls = [server.url, server.url.replace("127.0.0.1", "localhost")]
    backends = [ComfyBackend(url) for url in urls]
    for one in backends:
        assert isinstance(await one.boot(), str)
    assert await backends[0].server() == await backends[1].server()
    for one in backends:
        await one.aclose()


async def test_a_server_without_an_identity_is_one_by_its_marker() -> None:
    server = NoIdentity()
    await server.start()
    async with aclosing(ComfyBackend(server.url)) as backend:
        assert isinstance(await backend.server(), Unreachable)
        assert isinstance(await backend.boot(), str)
    await server.stop()


async def test_one_server_is_compared_once_for_each_boot(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    await backend.boot()
    server.seen.clear()
    await backend.boot()
    await backend.load()
    assert server.seen == ["GET /view", "GET /queue"]
