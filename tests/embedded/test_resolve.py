from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from everfold.embedded import EmbeddedServer, find_server, named_url, resolve
from everfold.embedded.data_folder import DataFolder, EngineRecord
from everfold.embedded.engines import Engine
from everfold.streams.errors import EngineMismatch, Misconfigured, NoServer, ServerTooOld
from tests.embedded.conftest import Stops
from tests.support.servers import client


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"REDIS_URL": "rediss://a:1/2", "REDIS_HOST": "b"}, "rediss://a:1/2"),
        ({"REDIS_HOST": "b"}, "redis://b:6379/0"),
        ({"REDIS_PORT": "1234"}, "redis://127.0.0.1:1234/0"),
        ({"REDIS_HOST": "b", "REDIS_PORT": "1234"}, "redis://b:1234/0"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_PORT": "tcp://10.0.0.7:6379"}, "redis://10.0.0.7:6379/0"),
        ({"REDIS_URL": "", "REDIS_HOST": ""}, None),
        ({}, None),
    ],
)
def test_the_environment_names_a_server(environ: dict[str, str], url: str | None) -> None:
    assert named_url(environ) == url


def test_a_url_with_a_password_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "redis-url"
    file.write_text("redis://a:secret@b:1/2\n")
    named = {"REDIS_URL_FILE": str(file), "REDIS_HOST": "c"}

    assert named_url(named) == "redis://a:secret@b:1/2"
    assert named_url({**named, "REDIS_URL": "redis://d:1/0"}) == "redis://d:1/0"
    file.write_text("")
    with pytest.raises(Misconfigured, match="an empty file"):
        named_url(named)
    file.write_bytes(b"\xff")
    with pytest.raises(Misconfigured, match="REDIS_URL_FILE names a file that cannot be read"):
        named_url(named)
    with pytest.raises(Misconfigured, match="cannot be read"):
        named_url({"REDIS_URL_FILE": str(tmp_path / "nowhere")})


def test_a_named_server_is_taken_without_touching_the_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "never-made"
    environ = {"REDIS_URL": "redis://127.0.0.1:1/0", "PATH": ""}

    assert resolve(folder, environ).url == "redis://127.0.0.1:1/0"
    assert resolve(folder, environ).started is None
    assert find_server(folder, environ) == "redis://127.0.0.1:1/0"
    assert not folder.exists()


def test_a_server_is_started_once_and_found_after_that(tmp_path: Path, stops: Stops) -> None:
    first = resolve(tmp_path, {"PATH": ""})
    stops(first.started)

    second = resolve(tmp_path, {"PATH": ""})

    assert first.started is not None
    assert (second.url, second.started) == (first.url, None)
    assert find_server(tmp_path, {"PATH": ""}) == first.url


def test_a_call_that_starts_nothing_says_how_to_start_one(tmp_path: Path) -> None:
    folder = tmp_path / "new"

    with pytest.raises(NoServer, match="everfold up"):
        find_server(folder, {"PATH": ""})
    assert not folder.exists()


def test_a_new_folder_gets_the_wheel_even_when_another_server_is_on_the_path(
    tmp_path: Path, path_of_fakes: Path, stops: Stops
) -> None:
    stops(resolve(tmp_path, {"PATH": str(path_of_fakes)}).started)

    assert str(DataFolder(tmp_path).read_engine()).startswith("Valkey 9")


def test_without_the_wheel_the_path_is_used(
    tmp_path: Path, no_wheel: None, path_engine: Engine, stops: Stops
) -> None:
    environ = {"PATH": str(Path(path_engine.program).parent)}
    resolved = resolve(tmp_path, environ)
    stops(resolved.started)

    recorded = DataFolder(tmp_path).read_engine()

    assert recorded == EngineRecord(path_engine.name, path_engine.version, "path")
    with client(resolved.url) as redis:
        assert redis.config_get("appendonly") == {"appendonly": "yes"}


def test_nothing_found_names_the_three_ways(tmp_path: Path, no_wheel: None) -> None:
    with pytest.raises(NoServer) as raised:
        resolve(tmp_path, {"PATH": str(tmp_path)})

    for way in ("REDIS_URL", "everfold[embedded]", "PATH"):
        assert way in str(raised.value)


def test_a_server_that_is_too_old_is_refused(
    tmp_path: Path, no_wheel: None, path_of_fakes: Path
) -> None:
    with pytest.raises(ServerTooOld, match=r"Redis 6\.2\.14"):
        resolve(tmp_path / "data", {"PATH": str(path_of_fakes)})


def test_data_of_another_engine_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    written = EngineRecord("redis", (7, 0, 15), "path")
    folder.write_engine(written)

    with pytest.raises(EngineMismatch, match=r"Redis 7\.0\.15, .*; found here: Valkey 9"):
        resolve(tmp_path, {"PATH": ""})

    assert folder.read_engine() == written
    assert not (tmp_path / "appendonlydir").exists()


def test_data_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    DataFolder(tmp_path).write_engine(EngineRecord("valkey", (99, 0, 0), "wheel"))

    with pytest.raises(EngineMismatch, match=r"Valkey 99\.0\.0"):
        resolve(tmp_path, {"PATH": ""})


def test_the_recorded_engine_wins_over_the_wheel(
    tmp_path: Path, path_engine: Engine, stops: Stops
) -> None:
    record = EngineRecord(path_engine.name, path_engine.version, "path")
    DataFolder(tmp_path).write_engine(record)

    stops(resolve(tmp_path, {"PATH": str(Path(path_engine.program).parent)}).started)

    assert DataFolder(tmp_path).read_engine() == record


def test_each_engine_reads_its_own_data_again(
    tmp_path: Path, path_engine: Engine, no_wheel: None, stops: Stops
) -> None:
    environ = {"PATH": str(Path(path_engine.program).parent)}
    first = resolve(tmp_path, environ)
    stops(first.started)
    with client(first.url) as redis:
        redis.set("key", "kept")
    os.kill(_started(first.started).pid, signal.SIGKILL)

    second = resolve(tmp_path, environ)
    stops(second.started)

    with client(second.url) as redis:
        assert redis.get("key") == b"kept"


def _started(server: EmbeddedServer | None) -> EmbeddedServer:
    assert server is not None
    return server
