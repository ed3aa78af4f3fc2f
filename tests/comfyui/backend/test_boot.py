"""The boot marker lives as long as the server's boot."""

from __future__ import annotations

import anyio
import pytest

from everfold.runner.backend import Unreachable
from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.recordings.replay_server import ReplayServer

pytestmark = pytest.mark.anyio


async def test_the_marker_stays_while_the_boot_lives(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    assert await backend.boot() == await backend.boot()
    assert len(server.files) == 1


async def test_a_restart_gives_another_marker(server: ReplayServer, backend: ComfyBackend) -> None:
    before = await backend.boot()
    await server.stop()
    assert isinstance(await backend.boot(), Unreachable)
    await server.start()
    after = await backend.boot()
    assert isinstance(after, str)
    assert after != before


async def test_calls_at_the_same_time_share_one_upload(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    markers: set[object] = set()

    async def ask() -> None:
        markers.add(await backend.boot())

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
    assert len(markers) == 1
    assert server.seen.count("POST /upload/image") == 1


async def test_a_server_that_refuses_uploads_is_unreachable(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    server.failing["/upload/image"] = 403
    assert isinstance(await backend.boot(), Unreachable)


async def test_a_marker_that_cannot_be_read_back_is_not_used(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    server.failing["/view"] = 404
    assert isinstance(await backend.boot(), Unreachable)


@pytest.mark.parametrize("version", ["0.3.44", "0.2.9", "v0.3.9"])
async def test_a_server_that_ignores_prompt_ids_is_refused(
    version: str, server: ReplayServer, backend: ComfyBackend
) -> None:
    server.version = version
    refusal = await backend.boot()
    assert isinstance(refusal, Unreachable)
    assert "too old" in refusal.why


@pytest.mark.parametrize("version", ["0.3.45", "0.38.1", "1.0", "0.3.64-12-gabcdef", "", "dev"])
async def test_newer_and_unnumbered_versions_are_welcome(
    version: str, server: ReplayServer, backend: ComfyBackend
) -> None:
    server.version = version
    assert isinstance(await backend.boot(), str)
