"""Bytes in a bucket of a real S3-compatible server, over a network that fails."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from everfold.assets import blob_bucket
from everfold.assets.blob_bucket import PART_BYTES, READ_BYTES, BlobBucket
from everfold.streams.assets.blob_store import BlobStore
from everfold.streams.errors import AssetGone, AssetsUnavailable
from tests.streams.assets.folders import content_of, open_files
from tests.support.network.s3_server import S3Server, settings
from tests.support.programs.programs import Program, StartProgram
from tests.support.sources import hash_of, in_chunks, some_bytes
from tests.support.trouble.http_fault_proxy import Held, HttpFaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

PROGRAM = "tests.everfold.assets.bucket_program"
TWO_PARTS = some_bytes(PART_BYTES + 1000)
SMALL = b"a small picture"

CREATE, PART, COMPLETE = b"?uploads", b"partNumber", b"?uploadId="


@pytest.fixture
async def proxy(s3: S3Server) -> AsyncIterator[HttpFaultProxy]:
    async with HttpFaultProxy(s3.host, s3.port) as proxy:
        yield proxy


@pytest.fixture
def name(named_server: S3Server) -> str:
    return named_server.new_bucket()


@pytest.fixture
def near(name: str) -> BlobBucket:
    """The bucket, without faults."""
    return BlobBucket(f"s3://{name}/files")


@pytest.fixture
def far(
    name: str, near: BlobBucket, proxy: HttpFaultProxy, monkeypatch: pytest.MonkeyPatch
) -> BlobBucket:
    """The same bucket, behind the proxy."""
    for variable, value in settings(proxy.port).items():
        monkeypatch.setenv(variable, value)
    return BlobBucket(f"s3://{name}/files", request_s=5)


def puts(proxy: HttpFaultProxy) -> int:
    return sum(line.startswith(b"PUT") for line in proxy.seen)


def _is_over(held: Held, program: Program) -> bool:
    return held.came.is_set() or program.exit_code is not None


async def assert_nothing(s3: S3Server, name: str, near: BlobStore, content: bytes) -> None:
    """Assert that nothing is readable, that nothing is left half, and that storing works then."""
    assert await near.find(hash_of(content)) is None
    assert [found async for found in near.walk()] == []
    assert s3.open_uploads(name) == 0
    await assert_stored(near, content)


async def assert_stored(near: BlobStore, content: bytes) -> None:
    blob = await near.put(in_chunks(content))
    assert await content_of(near, blob.hash) == content


async def test_a_large_file_is_sent_in_parts(
    far: BlobBucket, proxy: HttpFaultProxy, name: str, s3: S3Server
) -> None:
    blob = await far.put(in_chunks(TWO_PARTS))

    assert puts(proxy) == 2
    assert await content_of(far, blob.hash) == TWO_PARTS
    assert s3.open_uploads(name) == 0


async def test_what_was_just_stored_is_not_sent_again(
    far: BlobBucket, proxy: HttpFaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await far.put(in_chunks(SMALL))
        assert puts(proxy) == 1
    monkeypatch.setattr(blob_bucket, "FRESH_S", -60)
    await far.put(in_chunks(SMALL))
    assert puts(proxy) == 2


@pytest.mark.parametrize(
    ("content", "which"),
    [(SMALL, b"PUT"), (SMALL, b"HEAD"), (TWO_PARTS, CREATE), (TWO_PARTS, PART)],
)
@pytest.mark.parametrize("arrives", [False, True])
async def test_a_request_or_its_reply_is_lost(
    far: BlobBucket, proxy: HttpFaultProxy, content: bytes, which: bytes, arrives: bool
) -> None:
    lose = proxy.swallow_replies if arrives else proxy.drop_requests
    lost = lose(1, which)
    blob = await far.put(in_chunks(content))

    assert lost.hits == 1
    assert await content_of(far, blob.hash) == content


async def test_the_reply_that_an_upload_is_complete_is_lost(
    far: BlobBucket, proxy: HttpFaultProxy
) -> None:
    complete = proxy.swallow_replies(-1, COMPLETE)
    blob = await far.put(in_chunks(TWO_PARTS))

    assert complete.hits > 1
    assert await content_of(far, blob.hash) == TWO_PARTS


@pytest.mark.parametrize("lose", ["drop_requests", "swallow_replies", "cut_replies"])
async def test_a_request_or_its_reply_is_lost_while_bytes_are_read(
    far: BlobBucket, proxy: HttpFaultProxy, lose: str
) -> None:
    blob = await far.put(in_chunks(TWO_PARTS))
    lost = getattr(proxy, lose)(1, b"GET")

    assert await content_of(far, blob.hash) == TWO_PARTS
    assert lost.hits == 1


@pytest.mark.parametrize("content", [SMALL, TWO_PARTS], ids=["small", "large"])
async def test_a_server_that_cannot_be_reached(
    far: BlobBucket,
    proxy: HttpFaultProxy,
    content: bytes,
    near: BlobBucket,
    name: str,
    s3: S3Server,
) -> None:
    before = open_files()
    proxy.drop_requests(-1, b"PUT")
    with pytest.raises(AssetsUnavailable, match=f"the store of assets s3://{name}/files cannot"):
        await far.put(in_chunks(content))

    await eventually(lambda: open_files() <= before)
    await assert_nothing(s3, name, near, content)


async def test_a_server_that_does_not_answer(
    far: BlobBucket, proxy: HttpFaultProxy, name: str
) -> None:
    blob = await far.put(in_chunks(SMALL))
    slow = BlobBucket(f"s3://{name}/files", request_s=0.3)
    proxy.black_hole()
    with anyio.fail_after(20):
        with pytest.raises(AssetsUnavailable):
            await slow.find(blob.hash)
        with pytest.raises(AssetsUnavailable):
            await slow.put(in_chunks(b"other"))
    proxy.lift()
    assert await content_of(far, blob.hash) == SMALL


@pytest.mark.parametrize("native", [False, True])
async def test_a_cancelled_upload_does_not_wait_for_the_server(
    far: BlobBucket, proxy: HttpFaultProxy, native: bool, near: BlobBucket, name: str, s3: S3Server
) -> None:
    content, slow = some_bytes(3 * PART_BYTES), BlobBucket(far.url, request_s=3)
    before, held = open_files(), proxy.hold(3, arrives=True)
    if native:
        task = asyncio.create_task(slow.put(in_chunks(content)))
        await held.came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow.put, in_chunks(content))
            await held.came.wait()
            tasks.cancel_scope.cancel()

    assert s3.open_uploads(name) == 1
    await eventually(lambda: open_files() <= before and s3.open_uploads(name) == 0, 30)
    await assert_nothing(s3, name, near, content)


@pytest.mark.parametrize("content", [SMALL, TWO_PARTS], ids=["small", "large"])
async def test_a_file_that_arrives_shorter_is_removed(
    far: BlobBucket,
    proxy: HttpFaultProxy,
    content: bytes,
    near: BlobBucket,
    name: str,
    s3: S3Server,
) -> None:
    proxy.shorten_bodies(1, b"PUT" if content == SMALL else b"partNumber=2")
    with pytest.raises(AssetsUnavailable, match=r"bytes were sent and .* arrived"):
        await far.put(in_chunks(content))

    await assert_nothing(s3, name, near, content)


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_writer_is_killed_at_each_of_its_requests(
    proxy: HttpFaultProxy,
    near: BlobBucket,
    name: str,
    arrives: bool,
    start_program: StartProgram,
    tmp_path: Path,
) -> None:
    environ = {**settings(proxy.port), "TMPDIR": str(tmp_path / "waiting")}
    whole = hash_of(TWO_PARTS)
    for number in range(1, 20):
        proxy.seen.clear()
        held = proxy.hold(number, arrives=arrives)
        arguments = ("-m", PROGRAM, "put", f"s3://{name}/files", str(len(TWO_PARTS)))
        program = start_program(*arguments, environ=environ)
        await eventually(partial(_is_over, held, program), 30)
        if not held.came.is_set():
            assert program.exit_code == 0
            assert program.lines[0] == f"stored {whole}", program
            break
        program.kill()
        found = [found.hash async for found in near.walk()]
        if found:
            assert found == [whole]
            assert await content_of(near, whole) == TWO_PARTS
            await near.delete(whole)
        assert [*(tmp_path / "waiting").iterdir()] == []
    assert number == 7


async def test_bytes_that_are_deleted_while_they_are_read(bucket: BlobBucket) -> None:
    blob = await bucket.put(in_chunks(bytes(2 * READ_BYTES)))
    async with bucket.read(blob.hash) as pieces:
        await anext(pieces)
        await bucket.delete(blob.hash)
        with pytest.raises(AssetGone):
            _ = [piece async for piece in pieces]


async def test_a_walk_goes_on_after_a_page_and_ignores_what_is_foreign(
    bucket: BlobBucket, monkeypatch: pytest.MonkeyPatch, s3: S3Server
) -> None:
    monkeypatch.setattr(blob_bucket, "PAGE", 2)
    hashes = {(await bucket.put(in_chunks(bytes([n])))).hash for n in range(5)}
    place = bucket.url.removeprefix("s3:/")
    for foreign in ("note", "blobs/note", f"blobs/00/{'1' * 64}", f"blobs/00/{'0' * 64}.bak"):
        s3.ask("PUT", f"{place}/{foreign}")

    found = [found.hash async for found in bucket.walk()]
    assert len(found) == 5
    assert set(found) == hashes


async def test_a_bucket_that_is_not_there(named_server: S3Server) -> None:
    store = BlobBucket("s3://nobody-made-this/files")
    with pytest.raises(AssetsUnavailable, match="The specified bucket does not exist"):
        await store.put(in_chunks(SMALL))
    with pytest.raises(AssetsUnavailable, match="The specified bucket does not exist"):
        _ = [found async for found in store.walk()]
    assert await store.find(hash_of(SMALL)) is None


async def test_a_folder_in_which_nothing_can_wait(
    bucket: BlobBucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    with pytest.raises(AssetsUnavailable, match=f"what is sent there waits in {tmp_path}/file: "):
        await bucket.put(in_chunks(SMALL))


async def test_memory_is_bounded(
    bucket: BlobBucket, start_program: StartProgram, named_server: S3Server, tmp_path: Path
) -> None:
    environ = {**settings(named_server.port), "TMPDIR": str(tmp_path)}
    program = start_program("-m", PROGRAM, "measure", bucket.url, "96", environ=environ)
    assert await program.end(60) == 0
    _, count, _, took = program.lines[0].split()

    assert int(count) == 96 * 2**20
    assert int(took) < 32


async def test_no_text_of_an_error_shows_a_password_of_the_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in settings(1).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:word-of-passage@127.0.0.1:1")
    with pytest.raises(AssetsUnavailable) as failed:
        await BlobBucket("s3://bucket/files").find(hash_of(SMALL))
    text = "".join(traceback.format_exception(failed.value))
    assert "127.0.0.1:1" in text
    assert "word-of-passage" not in text
