from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from everfold.embedded import server as server_module
from everfold.embedded.data_folder import Address, DataFolder, EngineRecord
from everfold.embedded.engines import Engine, path_engines, wheel_engines
from everfold.embedded.server import (
    EmbeddedServer,
    known_server,
    running_or_started,
    running_server,
)
from everfold.streams.errors import NoServer, ServerUnreachable
from tests.embedded.conftest import Stops
from tests.support.servers import client

ENGINES = [*wheel_engines(), *path_engines(os.environ)]


@pytest.fixture(params=ENGINES, ids=lambda engine: f"{engine.name}-{engine.source}")
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


def _run(folder: DataFolder, engine: Engine) -> EmbeddedServer:
    return running_or_started(folder, lambda: engine, {})[0]


def test_the_machine_has_an_engine_to_test_with() -> None:
    assert ENGINES


def test_its_settings_keep_what_was_acknowledged(
    tmp_path: Path, engine: Engine, stops: Stops
) -> None:
    server = _run(DataFolder(tmp_path), engine)
    stops(server)

    with client(server.url) as redis:
        assert redis.config_get("appendonly", "appendfsync", "maxmemory-policy", "port") == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "port": "0",
        }
        assert redis.config_get("save") == {"save": ""}
    assert Path(server.url.removeprefix("unix://")).stat().st_mode & 0o077 == 0


def test_the_key_of_sealing_is_not_in_its_environment(
    tmp_path: Path, engine: Engine, stops: Stops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERFOLD_SEAL_KEY", "a-key-of-sealing")
    given, spawn = dict[str, str](), os.posix_spawn

    def noted(program: str, arguments: list[str], environ: dict[str, str], **more: object) -> int:
        given.update(environ)
        return spawn(program, arguments, environ, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "posix_spawn", noted)
    stops(_run(DataFolder(tmp_path), engine))

    assert "PATH" in given
    assert "a-key-of-sealing" not in given.values()


def test_nothing_acknowledged_is_lost_by_kill_nine(
    tmp_path: Path, engine: Engine, stops: Stops
) -> None:
    folder = DataFolder(tmp_path)
    first = _run(folder, engine)
    first_pid = first.pid
    with client(first.url) as redis:
        for number in range(500):
            redis.xadd("log", {"n": number})
    os.kill(first_pid, signal.SIGKILL)

    second = _run(folder, engine)
    stops(second)

    assert (second.url, second.pid != first_pid) == (first.url, True)
    with client(second.url) as redis:
        assert redis.xlen("log") == 500


def test_stop_ends_it_in_order_and_may_be_said_twice(tmp_path: Path, engine: Engine) -> None:
    folder = DataFolder(tmp_path)
    server = _run(folder, engine)
    assert server.is_running()

    server.stop()
    server.stop()

    assert not server.is_running()
    assert running_server(folder) is None
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_paths_with_spaces_quotes_and_length_are_no_obstacle(
    tmp_path: Path, engine: Engine, stops: Stops
) -> None:
    folder = DataFolder(tmp_path / "my 'data' \"folder\" ünd" / ("long" * 25) / ("er" * 50))

    server = _run(folder, engine)
    stops(server)

    found = running_server(folder)
    assert found is not None
    assert found.pid == server.pid
    assert (folder.path / "appendonlydir").is_dir()


def test_a_copied_folder_does_not_get_the_servers_of_the_original(
    tmp_path: Path, stops: Stops
) -> None:
    original, copy = DataFolder(tmp_path / "original"), DataFolder(tmp_path / "copy")
    server = _run(original, ENGINES[0])
    stops(server)
    copy.write_address(Address(server.url.removeprefix("unix://"), server.pid))

    other = _run(copy, ENGINES[0])
    stops(other)

    assert other.pid != server.pid
    assert other.url != server.url


def test_a_server_that_hangs_is_told_with_its_pid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: Stops
) -> None:
    folder = DataFolder(tmp_path)
    server = _run(folder, ENGINES[0])
    stops(server)
    os.kill(server.pid, signal.SIGSTOP)
    monkeypatch.setattr(server_module, "ANSWER_S", 0.3)

    with pytest.raises(ServerUnreachable, match=f"kill {server.pid}"):
        _run(folder, ENGINES[0])

    silent = known_server(folder)
    assert silent is not None
    assert silent.pid == server.pid


def test_a_stop_that_does_not_come_to_an_end_is_told(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    lock = folder.lock_server()
    assert lock is not None

    with closing(lock), pytest.raises(ServerUnreachable, match="does not end"):
        EmbeddedServer(folder, "/nowhere", _ended_child()).stop(within_s=0.05)


def test_a_failed_start_says_why_and_leaves_no_record(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    # A folder where the server wants to write a file.
    (folder.path / "appendonlydir").write_text("")

    with pytest.raises(NoServer, match=r"(?s)did not start.*appendonlydir"):
        _run(folder, ENGINES[0])

    assert folder.read_engine() is None
    assert not folder.has_server()


def test_a_binary_that_is_gone_leaves_the_record_as_it_was(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    written = EngineRecord("redis", (7, 0, 15), "path")
    folder.write_engine(written)
    gone = Engine(name="redis", version=(7, 2, 0), program="/nowhere/redis-server", source="path")

    with pytest.raises(NoServer):
        _run(folder, gone)

    assert folder.read_engine() == written


def test_a_starter_waits_for_another_one_that_is_starting(tmp_path: Path, stops: Stops) -> None:
    folder = DataFolder(tmp_path)
    lock = folder.lock_server()
    assert lock is not None

    def choose() -> Engine:
        raise AssertionError("somebody else has the lock")

    with closing(lock), pytest.MonkeyPatch.context() as patched:
        patched.setattr(server_module, "ANSWER_S", 0.2)
        with pytest.raises(ServerUnreachable):
            running_or_started(folder, choose, {})
    stops(_run(folder, ENGINES[0]))


def _ended_child() -> int:
    """Return the pid of a process that has just ended."""
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {})
    os.waitpid(pid, 0)
    return pid
