"""The gateway in an application of somebody's own."""

from __future__ import annotations

import socket

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_an_application_mounts_it_and_says_who_calls(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {**stack.names, "PORT": str(port)}
    program = stack.start("-m", "examples.gateway.own_application", environ=environ)
    url = f"http://127.0.0.1:{port}"
    ada, bob = ({"Authorization": f"Bearer token-of-{name}"} for name in ("ada", "bob"))
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:

        async def answers() -> bool:
            assert program.exit_code is None, program
            try:
                return (await client.get("/hello", headers=ada)).text == "hello ada\n"
            except httpx.TransportError:
                return False

        await eventually(answers, 20)
        assert (await client.get("/comfy/api/v2/jobs")).status_code == 401
        made = await client.post(
            "/comfy/api/v2/jobs",
            headers={**ada, "Idempotency-Key": "one"},
            json={"workflow": sleeper(0.1)},
        )
        assert made.status_code == 201, made.text
        job = made.json()
        assert job["urls"]["self"] == f"{url}/comfy/api/v2/jobs/{job['id']}"
        assert (await client.get(job["urls"]["self"], headers=ada)).status_code == 200
        assert (await client.get(job["urls"]["self"], headers=bob)).status_code == 404
        assert (await client.get("/comfy/queue", headers=bob)).json()["queue_pending"] == []
        watched = url.replace("http", "ws") + "/comfy/ws"
        async with connect(watched, additional_headers=ada) as watcher:
            assert "status" in str(await watcher.recv())
        with pytest.raises(InvalidStatus):
            await connect(watched)
