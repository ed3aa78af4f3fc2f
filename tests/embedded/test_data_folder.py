from __future__ import annotations

import os
import resource
import stat
from contextlib import closing
from pathlib import Path

import pytest

from everfold.embedded.data_folder import (
    SOCKET_PATH_LIMIT_BYTES,
    Address,
    DataFolder,
    EngineRecord,
    default_data_folder,
    socket_path,
)
from everfold.embedded.engines import Engine
from everfold.streams.errors import NoServer

RECORD = EngineRecord("valkey", (9, 1, 2), "wheel")


def _engine(name: str, *version: int) -> Engine:
    major, minor, patch = version
    return Engine(name=name, version=(major, minor, patch), program="/x", source="path")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"EVERFOLD_DATA": "/data", "XDG_DATA_HOME": "/home/data"}, Path("/data")),
        ({"EVERFOLD_DATA": "~/jobs"}, Path.home() / "jobs"),
        ({"XDG_DATA_HOME": "/home/data"}, Path("/home/data/everfold")),
        ({}, Path.home() / ".local" / "share" / "everfold"),
    ],
)
def test_the_default_folder(environ: dict[str, str], expected: Path) -> None:
    assert default_data_folder(environ) == expected


def test_a_new_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "a" / "b")

    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_told_with_the_ways_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(NoServer, match="EVERFOLD_DATA"):
        DataFolder(tmp_path / "file" / "data")


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert (folder.read_engine(), folder.read_address()) == (None, None)

    folder.write_engine(RECORD)
    folder.write_address(Address("/run/a.sock", 7))

    assert (folder.read_engine(), folder.read_address()) == (RECORD, Address("/run/a.sock", 7))
    folder.restore_engine(None)
    assert folder.read_engine() is None


def test_a_damaged_record_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("{")

    with pytest.raises(NoServer, match=r"engine\.json cannot be read"):
        DataFolder(tmp_path).read_engine()


@pytest.mark.parametrize(
    ("engine", "readable"),
    [
        (_engine("valkey", 9, 1, 2), True),
        (_engine("valkey", 9, 1, 0), True),
        (_engine("valkey", 10, 0, 0), True),
        (_engine("valkey", 9, 0, 9), False),
        (_engine("redis", 9, 1, 2), False),
    ],
    ids=str,
)
def test_who_can_read_the_data(engine: Engine, readable: bool) -> None:
    assert RECORD.is_readable_by(engine) is readable


def test_only_one_may_start_the_server(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    lock = first.lock_server()
    assert lock is not None

    assert second.lock_server() is None
    assert second.has_server()
    lock.close()
    assert not second.has_server()
    again = second.lock_server()
    assert again is not None
    again.close()


def test_a_server_that_somebody_needs_may_not_be_stopped(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)

    with closing(folder.lock_for_use()) as first, closing(folder.lock_for_use()) as second:
        assert not first.is_last()
        assert second.is_last()


def test_sockets_are_short_and_private_however_long_the_data_path(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / ("long" * 30) / ("longer" * 30))

    path = Path(socket_path(folder, {}))

    assert len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_each_folder_has_a_socket_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    one, other = DataFolder(tmp_path / "one"), DataFolder(tmp_path / "other")

    assert socket_path(one, {}) == socket_path(DataFolder(tmp_path / "one"), {})
    assert socket_path(one, {}) != socket_path(other, {})


def test_the_runtime_folder_is_used_unless_it_is_too_long(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    short = Path("/tmp") / f"everfold-test-{os.getpid()}"
    short.mkdir()
    long = tmp_path / ("x" * 90)
    long.mkdir()

    try:
        assert socket_path(folder, {"XDG_RUNTIME_DIR": str(short)}).startswith(str(short))
        assert not socket_path(folder, {"XDG_RUNTIME_DIR": str(long)}).startswith(str(long))
    finally:
        (short / "everfold").rmdir()
        short.rmdir()


def test_a_runtime_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    runtime = Path("/tmp") / f"everfold-test-{os.getpid()}-open"
    (runtime / "everfold").mkdir(parents=True)
    (runtime / "everfold").chmod(0o777)

    try:
        path = socket_path(DataFolder(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)})
        assert not path.startswith(str(runtime))
    finally:
        (runtime / "everfold").rmdir()
        runtime.rmdir()


def test_a_disk_that_takes_nothing_is_named_with_the_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(NoServer, match=r"the data folder .* cannot be used: its disk"):
            folder.write_engine(RECORD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert folder.read_engine() is None
