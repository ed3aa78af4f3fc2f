"""The websocket reader: never in anybody's way, and always back."""

from __future__ import annotations

import json

import anyio
import pytest

from everfold.runner.backend import Attempt, Observation, Sighting
from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.hostile.raw_server import Exchange, raw_server
from tests.comfyui.recordings.replay_server import ReplayServer, until

pytestmark = pytest.mark.anyio

P = "d984aab4-3a3b-4f2d-af1c-10b365b79190"
CLIENT = "client-1"
ATTEMPT = Attempt(job_id="job-1", number=1, prompt_id=P, client_id=CLIENT)
WORKFLOW = b"""{"1": {"class_type": "EmptyImage", "inputs": {}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}"""


def frame(kind: str, **data: object) -> str:
    return json.dumps({"type": kind, "data": {"prompt_id": P, **data}})


async def sighting_with(observation: Observation, wanted: str) -> Sighting:
    """Look until a sighting has what is wanted."""
    with anyio.fail_after(10):
        while True:
            sighting = await observation.next(1.0)
            if getattr(sighting, wanted):
                return sighting


async def test_every_connection_asks_for_the_truth(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    async with backend.observe(ATTEMPT, WORKFLOW) as observation:
        assert (await observation.next(1.0)).ask_truth
        assert not (await observation.next(0.0)).ask_truth
        server.drop(CLIENT)
        await sighting_with(observation, "ask_truth")
        await until(lambda: len(server.sockets[CLIENT]) == 1, "it has connected again")
        await server.send(CLIENT, frame("execution_start"))
        assert (await sighting_with(observation, "started")).progress is not None


async def test_nothing_new_is_an_empty_sighting_after_the_time(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    async with backend.observe(ATTEMPT, WORKFLOW) as observation:
        await observation.next(1.0)
        began_at_s = anyio.current_time()
        assert await observation.next(0.1) == Sighting()
        assert anyio.current_time() - began_at_s >= 0.09


async def test_a_flood_does_not_wait_for_a_consumer_that_never_looks(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    async with backend.observe(ATTEMPT, WORKFLOW) as observation:
        with anyio.fail_after(20):
            for value in range(2000):
                await server.send(CLIENT, frame("progress", value=value, max=2000, node="2"))
                await server.send(CLIENT, b"\0\0\0\1\0\0\0\1" + bytes(10_000))
            await server.send(CLIENT, frame("executed", node="2", output={"images": []}))
        saved = await sighting_with(observation, "saved")
        assert saved.progress is not None
        assert saved.progress.step == 1999


async def test_a_reconnect_closes_the_old_socket_first(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    async with backend.observe(ATTEMPT, WORKFLOW) as observation:
        await observation.next(1.0)
        await observation.reconnect()
        assert server.sockets_seen == ["opened", "closed", "opened"]
        assert len(server.sockets[CLIENT]) == 1
        assert (await observation.next(1.0)).ask_truth
    await until(lambda: not server.sockets[CLIENT], "the socket is closed")
    assert server.sockets_seen == ["opened", "closed"] * 2


async def test_a_server_that_is_down_is_tried_until_it_is_up(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    await server.stop()
    with anyio.fail_after(10):
        async with backend.observe(ATTEMPT, WORKFLOW) as observation:
            assert await observation.next(0.0) == Sighting()
            await server.start()
            assert (await sighting_with(observation, "ask_truth")).ask_truth


async def test_reconnecting_to_a_server_that_is_down_returns(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    async with backend.observe(ATTEMPT, WORKFLOW) as observation:
        await server.stop()
        with anyio.fail_after(5):
            await observation.reconnect()


async def test_an_error_of_the_body_comes_out_as_it_is(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with backend.observe(ATTEMPT, WORKFLOW):
            raise LookupError("mine")
    await until(lambda: not server.sockets[CLIENT], "the socket is closed")


async def test_being_cancelled_closes_the_socket(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    with anyio.CancelScope() as scope:
        async with backend.observe(ATTEMPT, WORKFLOW) as observation:
            await observation.next(1.0)
            scope.cancel()
            await observation.next(60.0)
    assert scope.cancelled_caught
    await until(lambda: not server.sockets[CLIENT], "the socket is closed")


async def test_garbage_does_not_end_the_reader(server: ReplayServer, backend: ComfyBackend) -> None:
    async with backend.observe(ATTEMPT, WORKFLOW) as observation:
        for garbage in ("", "[]", "{", '{"type":"progress","data":{"value":"x"}}', b"", b"\0"):
            await server.send(CLIENT, garbage)
        await server.send(CLIENT, frame("execution_start"))
        await sighting_with(observation, "started")
        assert server.sockets_seen == ["opened"]


async def test_a_port_that_speaks_no_websocket_is_tried_again_and_harmless() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.answer(502, b"bad gateway")

    async with raw_server(serve) as raw:
        backend = ComfyBackend(raw.url)
        async with backend.observe(ATTEMPT, WORKFLOW) as observation:
            await until(lambda: len(raw.exchanges) >= 2, "it has tried again")
            assert await observation.next(0.0) == Sighting()
        await backend.aclose()
