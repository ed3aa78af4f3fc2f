"""Bytes in a local folder: whole under their hash or not there, whatever dies."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.blob_store import CHUNK_BYTES
from everfold.streams.errors import AssetGone, AssetsUnavailable, Misconfigured
from tests.streams.assets.folders import (
    content_of,
    file_of,
    mode,
    open_files,
    parts,
    tree,
)
from tests.support.disks import sync_no_folder
from tests.support.sources import hash_of, in_chunks, some_bytes

pytestmark = pytest.mark.anyio


# Whose the folder is, and what lies in it.


async def test_folders_and_files_are_for_their_user_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        blob = await BlobFolder(tmp_path / "a" / "b").put(in_chunks(b"1"))
    finally:
        os.umask(old)
    file = file_of(tmp_path / "a" / "b", blob.hash)
    root = tmp_path / "a" / "b"
    made = [tmp_path / "a", root, root / "parts", root / "blobs", file.parent]
    assert [mode(path) for path in made] == [0o700] * 5
    assert mode(file) == 0o600
    assert parts(root) == []


async def test_looking_makes_no_folder(store: BlobFolder, root: Path) -> None:
    assert await store.find(hash_of(b"")) is None
    assert [found async for found in store.walk()] == []
    assert await store.sweep_parts(0) == 0
    assert tree(root.parent) == []


@pytest.mark.parametrize("which", ["", "blobs", "blobs/{}", "parts"])
@pytest.mark.parametrize("how", ["link", "shared", "file"])
async def test_a_folder_that_others_may_change_is_refused(
    store: BlobFolder, root: Path, which: str, how: str, tmp_path: Path
) -> None:
    blob = await store.put(in_chunks(b"1"))
    odd = root / which.format(blob.hash[7:9])
    if how == "shared":
        odd.chmod(0o770)
    else:
        odd.rename(tmp_path / "elsewhere")
    if how == "link":
        odd.symlink_to(tmp_path / "elsewhere")
    if how == "file":
        odd.write_text("")
    before = tree(tmp_path)

    with pytest.raises(Misconfigured, match=r"the assets' folder .* is not used"):
        await store.put(in_chunks(b"1"))
    if which != "parts":
        with pytest.raises(Misconfigured, match="is not used"):
            await store.find(blob.hash)
        with pytest.raises(Misconfigured, match="is not used"):
            await store.delete(blob.hash)
        with pytest.raises(Misconfigured, match="is not used"):
            _ = [found async for found in store.walk()]
    assert tree(tmp_path) == before


@pytest.mark.parametrize("how", ["link", "dangling", "pipe", "folder"])
async def test_what_is_no_file_is_no_blob(
    store: BlobFolder, root: Path, how: str, tmp_path: Path
) -> None:
    blob = await store.put(in_chunks(b"1"))
    file = file_of(root, blob.hash)
    file.unlink()
    (tmp_path / "secret").write_text("secret")
    match how:
        case "link":
            file.symlink_to(tmp_path / "secret")
        case "dangling":
            file.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()

    assert await store.find(blob.hash) is None
    assert [found async for found in store.walk()] == []
    with pytest.raises(AssetGone):
        await content_of(store, blob.hash)
    if how == "folder":
        with pytest.raises(AssetsUnavailable, match="directory"):
            await store.put(in_chunks(b"1"))
    else:
        await store.put(in_chunks(b"1"))
        assert await content_of(store, blob.hash) == b"1"
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (tmp_path / "nowhere").exists()
    assert parts(root) == []


async def test_foreign_files_are_ignored(store: BlobFolder, root: Path) -> None:
    blob = await store.put(in_chunks(b"1"))
    place = file_of(root, blob.hash).parent
    elsewhere = "0" * 64 if place.name != "00" else "1" * 64
    foreign = [
        root / "note",
        root / "blobs" / "note",
        place / "note",
        place / elsewhere,
        place / f"{blob.hash[7:]}.bak",
        root / "parts" / "note",
        root / "parts" / f"{'0' * 31}.part",
    ]
    for path in foreign:
        path.write_text("note")

    assert [found.hash async for found in store.walk()] == [blob.hash]
    assert await store.sweep_parts(0) == 0
    assert all(path.exists() for path in foreign)


# What is stored again.


async def test_bytes_that_are_stored_again_are_fresh(store: BlobFolder, root: Path) -> None:
    blob = await store.put(in_chunks(b"1"))
    os.utime(file_of(root, blob.hash), (1, 1))
    assert [found.written_ms async for found in store.walk()] == [1000]
    least_ms = time.time() * 1000 - 1000
    await store.put(in_chunks(b"1"))

    [found] = [found async for found in store.walk()]
    assert found.written_ms >= least_ms
    assert parts(root) == []


@pytest.mark.parametrize("damaged", [b"", b"23456", b"123456789"])
async def test_bytes_that_a_disk_damaged_are_replaced(
    store: BlobFolder, root: Path, damaged: bytes
) -> None:
    blob = await store.put(in_chunks(b"12345"))
    file_of(root, blob.hash).write_bytes(damaged)
    async with store.read(blob.hash) as old:
        await store.put(in_chunks(b"12345"))
        assert b"".join([piece async for piece in old]) == damaged

    assert await content_of(store, blob.hash) == b"12345"


async def test_a_reader_reads_on_when_the_bytes_are_deleted(store: BlobFolder) -> None:
    whole = some_bytes(3 * CHUNK_BYTES)
    blob = await store.put(in_chunks(whole))
    async with store.read(blob.hash) as pieces:
        first = await anext(pieces)
        assert await store.delete(blob.hash)
        assert first + b"".join([piece async for piece in pieces]) == whole


async def test_a_file_that_becomes_shorter_is_no_end(store: BlobFolder, root: Path) -> None:
    blob = await store.put(in_chunks(some_bytes(3 * CHUNK_BYTES)))
    async with store.read(blob.hash) as pieces:
        await anext(pieces)
        os.truncate(file_of(root, blob.hash), CHUNK_BYTES)
        with pytest.raises(AssetsUnavailable, match="too early"):
            await anext(pieces)


# What ends in between.


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_cancelled_transfer_leaves_nothing(
    store: BlobFolder, root: Path, after: int, native: bool
) -> None:
    await store.put(in_chunks(b"1"))
    before = open_files()
    reached = anyio.Event()

    async def source() -> AsyncIterator[bytes]:
        for _ in range(after):
            yield some_bytes(CHUNK_BYTES)
        reached.set()
        while True:
            yield some_bytes(CHUNK_BYTES)

    if native:
        task = asyncio.create_task(store.put(source()))
        await reached.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # by somebody who does not know that it ends already
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.put, source())
            await reached.wait()
            tasks.cancel_scope.cancel()

    assert parts(root) == []
    assert open_files() == before


@pytest.mark.parametrize("native", [False, True])
async def test_a_cancelled_reader_closes_its_file(store: BlobFolder, native: bool) -> None:
    blob = await store.put(in_chunks(some_bytes(3 * CHUNK_BYTES)))
    before, reading = open_files(), anyio.Event()

    async def read() -> None:
        while True:
            async with store.read(blob.hash) as pieces:
                async for _ in pieces:
                    reading.set()

    if native:
        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await reading.wait()
            tasks.cancel_scope.cancel()
    assert open_files() == before


async def test_the_event_loop_runs_while_a_source_never_waits(store: BlobFolder) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async def never_waiting() -> AsyncIterator[bytes]:
        started = turns
        end_s = time.perf_counter() + 0.3
        while time.perf_counter() < end_s:
            yield b"1"
        assert turns - started > 5

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await store.put(never_waiting())
        tasks.cancel_scope.cancel()


async def test_a_disk_that_syncs_no_folder_is_written_to(
    store: BlobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_no_folder(monkeypatch)
    blob = await store.put(in_chunks(b"1"))
    assert await store.find(blob.hash)
    assert await store.delete(blob.hash)
