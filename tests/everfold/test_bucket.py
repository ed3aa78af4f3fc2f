"""An archive in an object store: obstore's own in-memory one, by the same calls as S3's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.archives.bucket import Bucket
from everfold.archives.opening import open_store
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.errors import ArchiveUnavailable
from everfold.streams.retention.history import all_history
from everfold.streams.retention.trimming import trim
from tests.projector.jobs import assert_projected, make_jobs, projecting, work

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
