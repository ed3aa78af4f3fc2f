"""Who keeps the embedded server running, and when it ends: with real processes that are killed."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from everfold.embedded import (
    EmbeddedServer,
    embedded_server,
    find_server,
    keep_running,
    resolve,
    server_url,
)
from everfold.embedded.data_folder import DataFolder
from everfold.embedded.server import running_server
from tests.embedded.conftest import Stops
from tests.support.programs.programs import StartProgram
from tests.support.servers import client
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

HOLDS = """
import signal, sys, anyio
from contextlib import closing
from pathlib import Path
from everfold.embedded import embedded_server

# Ignored from the start in what a shell runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    async with embedded_server(Path(sys.argv[1]), {"PATH": ""}) as server:
        print(server.url, server.pid, flush=True)
        # asyncio sees an interrupt that comes right before it waits only when it wakes again.
        while True:
            await anyio.sleep(0.1)

try:
    anyio.run(main)
except KeyboardInterrupt:
    pass
"""

STARTS = """
import sys
from contextlib import closing
from pathlib import Path
from everfold.embedded import resolve
found = resolve(Path(sys.argv[1]), {"PATH": ""})
print(found.url, found.started.pid if found.started else 0, flush=True)
"""


async def _two_starters(folder: Path, start_program: StartProgram) -> list[list[str]]:
    both = [start_program("-c", STARTS, str(folder)) for _ in range(2)]
    return [(await program.line("unix://")).split() for program in both]


async def test_two_starters_at_once_get_one_server(
    tmp_path: Path, start_program: StartProgram, stops: Stops
) -> None:
    first, second = await _two_starters(tmp_path, start_program)
    server = running_server(DataFolder(tmp_path))
    stops(server)

    assert first[0] == second[0]
    assert {first[1], second[1]} == {"0", str(_started(server).pid)}


async def test_the_server_outlives_a_starter_that_has_ended(
    tmp_path: Path, start_program: StartProgram, stops: Stops
) -> None:
    program = start_program("-c", STARTS, str(tmp_path))
    url = (await program.line("unix://")).split()[0]
    assert await program.end() == 0

    stops(running_server(DataFolder(tmp_path)))

    assert find_server(tmp_path, {"PATH": ""}) == url


async def test_the_last_one_to_leave_stops_the_server(tmp_path: Path) -> None:
    async with embedded_server(tmp_path, {"PATH": ""}) as first:
        async with embedded_server(tmp_path, {"PATH": ""}) as second:
            assert second.pid == first.pid
        assert first.is_running()

    assert not first.is_running()


async def test_the_server_of_a_killed_owner_is_found_and_stopped_by_the_next(
    tmp_path: Path, start_program: StartProgram
) -> None:
    owner = start_program("-c", HOLDS, str(tmp_path))
    _, pid = (await owner.line("unix://")).split()
    owner.kill()

    async with embedded_server(tmp_path, {"PATH": ""}) as server:
        assert server.pid == int(pid)

    assert not server.is_running()


async def test_a_keyboard_interrupt_of_the_owner_ends_the_server_in_order(
    tmp_path: Path, start_program: StartProgram
) -> None:
    owner = start_program("-c", HOLDS, str(tmp_path))
    await owner.line("unix://")

    owner.send(signal.SIGINT)

    await owner.end()
    assert not DataFolder(tmp_path).has_server()
    assert "bye bye" in DataFolder(tmp_path).log.read_text()


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.02, 0.03, 0.05, 0.1])
async def test_a_start_that_asyncio_cancels_leaves_nothing_behind(
    tmp_path: Path, after_s: float
) -> None:
    folder = DataFolder(tmp_path)

    async def use_it() -> None:
        async with embedded_server(tmp_path, {"PATH": ""}):
            await anyio.sleep_forever()

    using = asyncio.create_task(use_it())
    await eventually(lambda: (tmp_path / "engine.json").exists())
    await anyio.sleep(after_s)
    using.cancel()

    _, waiting = await asyncio.wait([using], timeout=10.0)
    assert not waiting
    assert not folder.has_server()
    with closing(folder.lock_for_use()) as last:
        assert last.is_last()


async def test_a_server_whose_folder_was_removed_ends_with_its_last_user(tmp_path: Path) -> None:
    async with embedded_server(tmp_path / "data", {"PATH": ""}) as server:
        pid = server.pid
        shutil.rmtree(tmp_path / "data")
        assert server.is_running()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_who_could_not_take_a_lock_stops_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: Stops
) -> None:
    started = resolve(tmp_path, {"PATH": ""}).started
    stops(started)

    def refuse(_: DataFolder) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(DataFolder, "lock_for_use", refuse)
    with pytest.raises(OSError, match="too many"):
        async with embedded_server(tmp_path, {"PATH": ""}):
            pass
    assert _started(running_server(DataFolder(tmp_path))).is_running()


async def test_a_frozen_server_is_stopped_too(tmp_path: Path) -> None:
    async with embedded_server(tmp_path, {"PATH": ""}) as server:
        os.kill(server.pid, signal.SIGSTOP)

    assert not server.is_running()


async def test_a_killed_server_is_started_again_at_the_same_address(tmp_path: Path) -> None:
    environ = {"PATH": ""}
    async with (
        embedded_server(tmp_path, environ) as server,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(keep_running, server, environ)
        with client(server.url) as redis:
            redis.set("key", "kept")

        def revived() -> EmbeddedServer | None:
            return running_server(DataFolder(tmp_path))

        first_pid = server.pid
        os.kill(first_pid, signal.SIGKILL)

        again = _started(await eventually(lambda: run_sync(revived), within_s=10))
        assert (again.url, again.pid) == (server.url, server.pid)
        assert again.pid != first_pid
        with client(server.url) as redis:
            assert redis.get("key") == b"kept"
        tasks.cancel_scope.cancel()

    assert not again.is_running()


async def test_the_url_of_a_named_server_is_passed_on(tmp_path: Path, redis_url: str) -> None:
    async with server_url(tmp_path / "never-made", {"REDIS_URL": redis_url}) as url:
        assert url == redis_url

    assert not (tmp_path / "never-made").exists()


async def test_the_url_of_the_embedded_server_is_given_without_a_named_one(tmp_path: Path) -> None:
    async with server_url(tmp_path, {"PATH": ""}) as url:
        assert find_server(tmp_path, {"PATH": ""}) == url


def _started(server: EmbeddedServer | None) -> EmbeddedServer:
    assert server is not None
    return server
