"""Bodies that come slowly: all of them together, and those of one caller, have a bound."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from everfold import Everfold
from everfold.web.access import held_bodies
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.web.comfyui.users import HEADER, client_of_user, serving_users
from tests.web.site import Site

pytestmark = pytest.mark.anyio

SOME = b" " * 100_000
GRAPH = {"1": {"class_type": "SaveImage", "inputs": {}}}


@contextlib.asynccontextmanager
async def sending(site: Site, user: str) -> AsyncIterator[None]:
    """Send a part of a body, and no more of it."""
    place = urlsplit(site.url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\n{HEADER.decode()}: {user}\r\n"
    writer.write(f"{head}Content-Length: {10 * len(SOME)}\r\n\r\n".encode() + SOME)
    try:
        yield
    finally:
        writer.close()


async def submitted(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/prompt", json={"prompt": GRAPH})


async def until_held(site: Site, count: int) -> None:
    await eventually(lambda: site.gateway.held_bodies.bytes == count * len(SOME), 10)


async def test_one_caller_holds_a_part_of_what_all_may_hold(
    everfold: Everfold, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_bodies, "OF_ONE_LIMIT_BYTES", 2 * len(SOME))
    async with (
        serving_users(everfold, stack) as site,
        client_of_user(site, "ann") as ann,
        client_of_user(site, "bob") as bob,
    ):
        async with sending(site, "ann"), sending(site, "ann"):
            await until_held(site, 2)
            refused = await submitted(ann)
            assert refused.status_code == 503
            assert refused.json()["error"]["type"] == "busy"
            assert int(refused.headers["retry-after"]) > 0
            assert (await submitted(bob)).status_code == 200
        await until_held(site, 0)
        assert (await submitted(ann)).status_code == 200


async def test_all_callers_together_have_a_bound(
    everfold: Everfold, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_bodies, "OF_ALL_LIMIT_BYTES", 3 * len(SOME))
    async with serving_users(everfold, stack) as site, client_of_user(site, "zoe") as zoe:
        async with AsyncExitStack() as exits:
            for user in ("ann", "bob", "cyd"):
                await exits.enter_async_context(sending(site, user))
            await until_held(site, 3)
            assert (await submitted(zoe)).status_code == 503
        await until_held(site, 0)
        assert (await submitted(zoe)).status_code == 200
