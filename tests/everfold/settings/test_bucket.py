"""An archive in an object store: obstore's own in-memory one, by the same calls as S3's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.archives.bucket import Bucket
from everfold.archives.opening import open_store
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.errors import ArchiveDamaged, ArchiveUnavailable
from everfold.streams.retention.history import all_history
from everfold.streams.retention.trimming import trim
from tests.architecture.source_tree import modules
from tests.projector.jobs import assert_projected, make_jobs, projecting, work
from tests.support.network.s3_server import S3Server
from tests.support.programs.programs import StartProgram

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


async def test_a_file_is_created_once_and_never_replaced() -> None:
    bucket = Bucket("memory:///")
    assert await bucket.read("a/1") is None
    assert await bucket.create("a/1", b"first")
    assert not await bucket.create("a/1", b"second")
    assert await bucket.read("a/1") == b"first"


async def test_files_are_created_and_read_at_once() -> None:
    bucket = Bucket("memory:///")
    await bucket.create("a/1", b"first")
    await bucket.create_all({f"a/{number}": b"%d" % number for number in range(40)})
    names = ["a/1", "a/39", "a/40", "a/0"]
    assert await bucket.read_all(names, 10) == [b"first", b"39", None, b"0"]
    with pytest.raises(ArchiveDamaged, match="more than 4 bytes"):
        await bucket.read_all(names, 4)


async def test_history_is_whole_after_archive_and_trim(log: Log) -> None:
    jobs = await make_jobs(log, 10)
    await work(log)
    async with projecting(log):
        await assert_projected(log, jobs)
    whole = [record async for record in all_history(log)]
    bucket = Bucket("memory:///")
    await Archiver(log, Archive(bucket)).run(everything=True)
    assert sum([(await trim(log, partition, 0)).count for partition in range(2)]) == len(whole)
    assert [record async for record in all_history(log, Archive(bucket))] == whole


async def test_a_real_server_creates_a_file_once_too(named_server: S3Server) -> None:
    bucket = Bucket(f"s3://{named_server.new_bucket()}/archive")
    assert await bucket.read("a/1") is None
    assert await bucket.create("a/1", b"first")
    assert not await bucket.create("a/1", b"second")
    assert await bucket.read("a/1") == b"first"


async def test_a_bucket_that_is_not_there_is_told(named_server: S3Server) -> None:
    with pytest.raises(ArchiveUnavailable, match="The specified bucket does not exist"):
        await Bucket("s3://nobody-made-this").create("a/1", b"first")


async def test_an_address_with_s3_is_a_bucket_and_trouble_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "AWS_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_REGION": "eu-central-1",
        "AWS_MAX_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://somewhere/everfold")
    assert isinstance(store, Bucket)
    with pytest.raises(ArchiveUnavailable, match="somewhere"):
        await store.read("partition-0/00000000.manifest.json")


def test_obstore_is_called_in_threads_only() -> None:
    """Its event loop ends one program in ten by SIGABRT, when the interpreter ends."""
    users = [module for module in modules("everfold") if "import obstore" in module.text]

    assert {module.room for module in users} == {"archives", "assets"}
    for module in users:
        assert not re.search(r"obstore\.\w+_async", module.text), module.name


LOOK = """
import sys, asyncio
from everfold.archives.opening import open_store
from everfold.streams.errors import EverfoldError

async def look(url):
    try:
        store = open_store(url)
        print(await store.create("partition-0/a", b"1"), await store.read("partition-0/a"))
    except EverfoldError as error:
        print(type(error).__name__, error)
    print("obstore" in sys.modules)

asyncio.run(look(sys.argv[1]))
"""


async def test_nothing_is_contacted_that_nobody_has_named(
    start_program: StartProgram, tmp_path: Path
) -> None:
    """A proxy stands for all addresses: each connect by HTTP would be seen there."""
    connects: list[str] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connects.append("")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1")
    trap = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    proxies = {"HTTP_PROXY": trap, "HTTPS_PROXY": trap, "ALL_PROXY": trap, "NO_PROXY": ""}

    async def told(url: str, **environ: str) -> list[str]:
        program = start_program("-c", LOOK, url, environ={**proxies, **environ})
        await program.end(30)
        return program.lines

    assert await told(str(tmp_path / "folder")) == ["True b'1'", "False"]
    assert await told("file://" + str(tmp_path / "folder")) == ["False b'1'", "False"]
    (refused, _) = await told("s3://bucket/prefix", AWS_REGION="eu-central-1")
    assert refused.startswith("Misconfigured s3://bucket/prefix needs credentials")
    assert connects == []
    # The same without the refusal, so that the trap is known to see it.
    named = {"AWS_METADATA_ENDPOINT": trap, "AWS_MAX_RETRIES": "0", "AWS_REGION": "eu-central-1"}
    await told("s3://bucket/prefix", **named)
    assert connects
    server.close()
