"""A local folder as a store: this user's alone, and no name in it leads anywhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.archive import archiver, folder
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.errors import ArchiveDamaged, ArchiveUnavailable, Misconfigured
from tests.projector.jobs import make_jobs
from tests.support.disks import sync_no_folder

pytestmark = pytest.mark.anyio

NAME = "partition-0/00000000.manifest.json"


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a path another user's: by chown as root, else by being somebody else."""
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    else:
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def link(place: Path, other: Path) -> None:
    other.write_text("secret")
    place.symlink_to(other)


def text_of(path: Path) -> str:
    return path.read_text()


def tree(path: Path) -> list[str]:
    return sorted(str(found) for found in path.rglob("*"))


def spoil_folder(
    root: Path, which: str, how: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Path(os.path.normpath(root / which))
    match how:
        case "link":
            odd.rename(elsewhere)
            odd.symlink_to(elsewhere)
        case "file":
            odd.rename(elsewhere)
            odd.write_text("")
        case "shared":
            odd.chmod(0o770)
        case "foreign":
            give_away(odd, monkeypatch)


def spoil_file(file: Path, how: str, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other.write_text("secret")
    if how not in ("foreign", "huge"):
        file.unlink()
    match how:
        case "link":
            file.symlink_to(other)
        case "dangling":
            file.symlink_to(other.with_name("nowhere"))
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "foreign":
            if os.geteuid() != 0:
                pytest.skip("only root can give one file away")
            give_away(file, monkeypatch)
        case "huge":
            os.truncate(file, folder.FILE_LIMIT_BYTES + 1)  # without a byte on the disk


async def test_folders_and_files_are_for_their_user_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        assert await Folder(str(tmp_path / "a" / "b")).create(NAME, b"1")
    finally:
        os.umask(old)
    made = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "partition-0"]
    assert [mode(path) for path in made] == [0o700] * 3
    assert os.listdir(made[-1]) == ["00000000.manifest.json"]
    assert mode(made[-1] / "00000000.manifest.json") == 0o600


@pytest.mark.parametrize("which", [".", "partition-0"])
@pytest.mark.parametrize("how", ["link", "shared", "foreign", "file"])
async def test_a_folder_that_others_may_change_is_refused(
    which: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, elsewhere = Folder(str(tmp_path / "a")), tmp_path / "elsewhere"
    assert await store.create(NAME, b"1")
    spoil_folder(tmp_path / "a", which, how, elsewhere, monkeypatch)
    before = tree(tmp_path)
    with pytest.raises(Misconfigured, match="is not used"):
        await store.read(NAME)
    with pytest.raises(Misconfigured, match="is not used"):
        await store.create("partition-0/other", b"2")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("how", ["link", "dangling", "pipe", "folder", "foreign", "huge"])
async def test_a_file_that_is_no_file_of_this_user_is_damaged(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other, file = Folder(str(tmp_path)), tmp_path / "other", tmp_path / NAME
    assert await store.create(NAME, b"1")
    spoil_file(file, how, other, monkeypatch)
    with pytest.raises((ArchiveDamaged, ArchiveUnavailable), match=r"00000000|a directory"):
        await store.read(NAME)
    assert not await store.create(NAME, b"2")
    assert text_of(other) == "secret"


async def test_a_link_in_place_of_the_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = Folder(str(tmp_path)), tmp_path / "other"
    assert await store.create(NAME, b"1")
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    link(tmp_path / "partition-0" / f".{'0' * 32}.part", other)
    with pytest.raises(ArchiveUnavailable):
        await store.create("partition-0/2", b"2")
    assert text_of(other) == "secret"


async def test_a_segment_ends_before_it_is_larger_than_readers_take(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver, "SEGMENT_BYTES", 1500)
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        await make_jobs(log, 10)
        archive = Archive(Folder(str(tmp_path)))
        await Archiver(log, archive).run()
        counts = [link.manifest.count for link in await archive.links(0)]
        assert counts == [3, 3, 3]


@contextlib.contextmanager
def no_larger_file_than(size_bytes: int) -> Iterator[None]:
    """Let writes of this process end as on a full disk: half-way, with an error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    store = Folder(str(tmp_path / "archive"))
    await store.create("partition-0/0", b"0")
    with no_larger_file_than(4096):
        for _ in range(3):
            with pytest.raises(ArchiveUnavailable):
                await store.create("partition-0/1", b"1" * 10_000)
    assert os.listdir(tmp_path / "archive" / "partition-0") == ["0"]


async def test_a_disk_without_hard_links_is_refused_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    place = tmp_path / "archive"
    with pytest.raises(Misconfigured, match=f"{place} is not used: its disk has no hard links"):
        await Folder(str(place)).create(NAME, b"1")
    assert os.listdir(place / "partition-0") == []


async def test_a_disk_that_syncs_no_folder_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_no_folder(monkeypatch)
    store = Folder(str(tmp_path / "archive"))
    assert await store.create(NAME, b"1")
    assert await store.read(NAME) == b"1"


async def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync_no_folder(monkeypatch, errno.EIO)
    with pytest.raises(ArchiveUnavailable, match="Input/output error"):
        await Folder(str(tmp_path / "archive")).create(NAME, b"1")
