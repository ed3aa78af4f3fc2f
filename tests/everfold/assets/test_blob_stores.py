"""What each place for bytes does, whatever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.blob_store import BEGINNING_BYTES, CHUNK_BYTES, Blob, BlobStore
from everfold.streams.errors import AssetGone, HashMismatch, InvalidName, TooLarge
from tests.support.sources import hash_of, in_chunks, some_bytes

pytestmark = pytest.mark.anyio

SEVERAL_CHUNKS = some_bytes(3 * CHUNK_BYTES + 7)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return BlobFolder(tmp_path / "store")
    bucket: BlobStore = request.getfixturevalue("bucket")
    return bucket


async def content_of(
    store: BlobStore, content_hash: str, start: int = 0, end: int | None = None
) -> bytes:
    async with store.read(content_hash, start, end) as pieces:
        return b"".join([piece async for piece in pieces])


async def size_of(store: BlobStore, content_hash: str) -> int | None:
    found = await store.find(content_hash)
    assert found is None or found.hash == content_hash
    return found.size_bytes if found else None


async def stored(store: BlobStore) -> list[tuple[str, int]]:
    return sorted([(found.hash, found.size_bytes) async for found in store.walk()])


@pytest.mark.parametrize("size", [1000, 65536, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES])
async def test_bytes_come_back_as_they_were(store: BlobStore, size: int) -> None:
    blob = await store.put(in_chunks(SEVERAL_CHUNKS, size))

    name = hash_of(SEVERAL_CHUNKS)
    assert blob == Blob(name, len(SEVERAL_CHUNKS), SEVERAL_CHUNKS[:BEGINNING_BYTES])
    assert await size_of(store, name) == len(SEVERAL_CHUNKS)
    assert await content_of(store, name) == SEVERAL_CHUNKS
    assert await stored(store) == [(name, len(SEVERAL_CHUNKS))]


@pytest.mark.parametrize("content", [b"", b"x"])
async def test_even_no_bytes_are_stored(store: BlobStore, content: bytes) -> None:
    blob = await store.put(in_chunks(content, 1))

    assert blob == Blob(hash_of(content), len(content), content)
    assert await size_of(store, blob.hash) == len(content)
    assert await content_of(store, blob.hash) == content


async def test_empty_chunks_and_changing_ones_are_taken(store: BlobStore) -> None:
    async def odd() -> AsyncIterator[bytes]:
        yield b""
        yield SEVERAL_CHUNKS[:3]
        yield SEVERAL_CHUNKS[3 : 2 * CHUNK_BYTES]
        yield b""
        yield SEVERAL_CHUNKS[2 * CHUNK_BYTES :]

    blob = await store.put(odd())

    assert blob.hash == hash_of(SEVERAL_CHUNKS)
    assert await content_of(store, blob.hash) == SEVERAL_CHUNKS


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (5, 5),
        (5, 3),
        (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        (7, None),
        (3 * CHUNK_BYTES, None),
        (len(SEVERAL_CHUNKS), None),
        (len(SEVERAL_CHUNKS) + 5, None),
        (len(SEVERAL_CHUNKS) - 5, len(SEVERAL_CHUNKS) + 5),
        (0, 2**40),
    ],
)
async def test_a_range_is_as_a_slice(store: BlobStore, start: int, end: int | None) -> None:
    blob = await store.put(in_chunks(SEVERAL_CHUNKS))

    assert await content_of(store, blob.hash, start, end) == SEVERAL_CHUNKS[start:end]


async def test_bytes_that_are_not_there(store: BlobStore) -> None:
    missing = hash_of(b"missing")
    for _ in range(2):
        assert await size_of(store, missing) is None
        assert not await store.delete(missing)
        assert await store.sweep_parts(0) == 0
        with pytest.raises(AssetGone):
            await content_of(store, missing)
        with pytest.raises(AssetGone):
            await content_of(store, missing, 3, 4)
        await store.put(in_chunks(b"other"))
        assert await stored(store) == [(hash_of(b"other"), 5)]


async def test_deleted_bytes_are_gone_and_may_come_again(store: BlobStore) -> None:
    blob = await store.put(in_chunks(b"here"))
    assert await store.delete(blob.hash)
    assert await size_of(store, blob.hash) is None
    assert await stored(store) == []
    assert not await store.delete(blob.hash)
    await store.put(in_chunks(b"here"))
    assert await content_of(store, blob.hash) == b"here"


@pytest.mark.parametrize("count", [10, CHUNK_BYTES + 10])
async def test_bytes_that_are_not_as_expected_are_not_stored(store: BlobStore, count: int) -> None:
    content = some_bytes(count)
    name = hash_of(content)
    with pytest.raises(HashMismatch, match="nothing was stored"):
        await store.put(in_chunks(content), expected_hash=hash_of(b"other"))
    for wrong in (0, count - 1, count + 1):
        with pytest.raises(HashMismatch, match="a length of"):
            await store.put(in_chunks(content), expected_bytes=wrong)
    with pytest.raises(TooLarge):
        await store.put(in_chunks(content), most_bytes=count - 1)
    assert await stored(store) == []

    blob = await store.put(
        in_chunks(content), expected_hash=name, expected_bytes=count, most_bytes=count
    )
    assert blob.hash == name


async def test_too_much_is_noticed_before_the_end(store: BlobStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)

    with pytest.raises(HashMismatch, match="more than 5,000 bytes"):
        await store.put(endless(), expected_bytes=5000)
    with pytest.raises(TooLarge):
        await store.put(endless(), most_bytes=5000)


async def test_an_error_of_the_source_is_raised_as_it_is(store: BlobStore) -> None:
    async def breaking(count: int) -> AsyncIterator[bytes]:
        yield bytes(count)
        raise OSError("the sender hung up")

    for count in (0, 10, 2 * CHUNK_BYTES):
        with pytest.raises(OSError, match="the sender hung up"):
            await store.put(breaking(count))
    assert await stored(store) == []


@pytest.mark.parametrize(
    "name", ["", "../x", "blake3:", f"blake3:{'A' * 64}", "0" * 64, f"blake3:{'0' * 62}/."]
)
async def test_what_is_no_hash_is_refused(store: BlobStore, name: str) -> None:
    await store.put(in_chunks(b"here"))
    with pytest.raises(InvalidName):
        await store.find(name)
    with pytest.raises(InvalidName):
        await store.delete(name)
    with pytest.raises(InvalidName):
        await content_of(store, name)


async def test_what_was_just_stored_is_as_old_as_the_time_of_the_store(store: BlobStore) -> None:
    least_ms = await store.now_ms()
    blob = await store.put(in_chunks(b"1"))
    for _ in range(2):
        found = await store.find(blob.hash)
        assert found is not None
        # S3 tells whole seconds.
        assert least_ms // 1000 * 1000 <= found.written_ms <= await store.now_ms()
        assert [found] == [one async for one in store.walk()]
        await store.put(in_chunks(b"1"))
