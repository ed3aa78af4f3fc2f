"""What belongs to an extension goes to the servers that have it, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from everfold import Everfold
from everfold.projector.reading.queries import current
from everfold.streams.leases.backends import BackendEntry, note_backends
from everfold.streams.redis.server import server_time_ms
from tests.web.site import Site

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


class Etn:
    """A server whose extension keeps pictures in its memory."""

    def __init__(self) -> None:
        self.url = ""
        self.kept: dict[str, bytes] = {}
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        name = request.match_info["rest"]
        if request.method == "PUT":
            self.kept[name] = await request.read()
            return web.json_response({"status": "success"}, headers={"Set-Cookie": "a=b"})
        if name == "page":
            return web.Response(text="<script>1</script>", content_type="text/html")
        if name == "broken":
            return web.Response(status=500, text="secret traceback")
        if name == "echo":
            return web.json_response(dict(request.query))
        if name not in self.kept:
            return web.Response(status=404)
        return web.Response(body=self.kept[name], content_type="image/png")


@contextlib.asynccontextmanager
async def etn_server() -> AsyncIterator[Etn]:
    etn = Etn()
    app = web.Application()
    app.router.add_route("*", "/api/etn/{rest:.*}", etn.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    etn.url = f"http://127.0.0.1:{port}"
    try:
        yield etn
    finally:
        await runner.cleanup()


async def enrol(everfold: Everfold, *servers: Etn) -> None:
    now_ms = await server_time_ms(everfold.log.redis)
    entries = [
        BackendEntry(
            name=one.url,
            seen_ms=now_ms,
            is_configured=True,
            labels=("extension:etn",),
            server=one.url,
        )
        for one in servers
    ]
    await note_backends(everfold.log, entries)


@pytest.fixture
async def servers(everfold: Everfold) -> AsyncIterator[tuple[Etn, Etn]]:
    async with etn_server() as first, etn_server() as second:
        await enrol(everfold, first, second)
        yield first, second


async def test_what_is_put_is_at_every_server_and_read_from_the_first_that_has_it(
    servers: tuple[Etn, Etn], client: httpx.AsyncClient
) -> None:
    first, second = servers
    put = await client.put("/api/etn/image/a%2Fb", content=b"picture")
    assert put.status_code == 200
    assert [list(one.kept.values()) for one in servers] == [[b"picture"], [b"picture"]]
    first.kept.clear()
    second.kept["only"] = b"second"
    got = await client.get("/api/etn/only")
    assert (got.status_code, got.content, got.headers["content-type"]) == (
        *(200, b"second"),
        "image/png",
    )
    assert (await client.get("/api/etn/nowhere")).status_code == 404
    assert (await client.get("/api/etn/echo?a=1&b=x y")).json() == {"a": "1", "b": "x y"}


async def test_no_key_or_cookie_leaves_the_gateway_and_none_comes_back(
    servers: tuple[Etn, Etn], client: httpx.AsyncClient
) -> None:
    headers = {"Authorization": "Bearer ef_a_b", "X-API-Key": "ef_a_b", "Cookie": "everfold=x"}
    put = await client.put("/api/etn/a", content=b"1", headers=headers)
    seen = str([one.headers for one in servers])
    assert "ef_a_b" not in seen
    assert "everfold=x" not in seen
    assert "set-cookie" not in put.headers


async def test_a_page_of_an_extension_is_downloaded_and_a_failure_is_not_the_gateways(
    servers: tuple[Etn, Etn], client: httpx.AsyncClient
) -> None:
    page = await client.get("/api/etn/page")
    assert page.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in page.headers["content-security-policy"]
    assert (await client.get("/api/etn/broken")).status_code == 424


@pytest.mark.parametrize(
    "path", ["/api/etn/../../x", "/api/etn/%2e%2e/x", "/api/etn//x", "/api/no/x"]
)
async def test_other_paths_are_nobodys(
    path: str, servers: tuple[Etn, Etn], client: httpx.AsyncClient
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    told = answer.json()["error"]["message"]
    assert told.startswith("there is nothing at this ")
    assert told.endswith("no server that answers has the label extension:no") == (
        path == "/api/no/x"
    )
    assert not servers[0].headers


async def test_a_server_that_does_not_answer_is_a_503_for_what_must_reach_all(
    everfold: Everfold, servers: tuple[Etn, Etn], client: httpx.AsyncClient
) -> None:
    gone = Etn()
    gone.url = "http://127.0.0.1:9"
    await enrol(everfold, gone)
    servers[0].kept["a"] = b"1"
    answer = await client.put("/api/etn/b", content=b"1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert (await client.get("/api/etn/a")).content == b"1"


async def test_a_job_with_nodes_of_the_extension_needs_a_server_that_has_it(
    servers: tuple[Etn, Etn], site: Site, client: httpx.AsyncClient
) -> None:
    graph = {
        "1": {"class_type": "ETN_LoadImageCache", "inputs": {"id": "a"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    async with asyncio.timeout(10):
        made = await client.post("/prompt", json={"prompt": graph})
    job = await current(site.everfold.log, made.json()["prompt_id"])
    assert job.needs == ("extension:etn",)
