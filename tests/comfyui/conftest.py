"""Fixtures of the adapter's tests."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest

from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.recordings.replay_server import ReplayServer


@pytest.fixture
def unused_tcp_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def server() -> AsyncIterator[ReplayServer]:
    server = ReplayServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def backend(server: ReplayServer) -> AsyncIterator[ComfyBackend]:
    backend = ComfyBackend(server.url)
    yield backend
    await backend.aclose()
