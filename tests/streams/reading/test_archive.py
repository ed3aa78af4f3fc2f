"""The archive: nothing lost, nothing twice, nothing changed without being seen."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.appending.log import Log
from everfold.streams.archive import archiver as archiver_module
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.archive.manifest import workflow_name
from everfold.streams.archive.segment import read_segment, records_of, write_segment
from everfold.streams.errors import ArchiveDamaged, ArchiveForeign, ArchiveUnavailable, Trimmed
from everfold.streams.events.record import FIELDS, NO_ENTRY
from everfold.streams.reading.readers import readers
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from tests.projector.jobs import make_jobs, work

pytestmark = pytest.mark.anyio

ENTRY_IDS = st.builds("{}-{}".format, st.integers(1, 10**13), st.integers(0, 9)).map(str.encode)
PAYLOADS = st.sampled_from(
    [
        b'{"type":"job.started","attempt":1}',
        b'{ "a" :\n 1}',
        b"no json",
        b"\xff",
        b'{"a": 1.50}',
        b'{"a":"\xff"}',
    ]
)
NUMBERS = st.one_of(st.integers(0, 9).map(lambda n: str(n).encode()), st.just(b"007"))
VALUES = st.tuples(st.just(b"job-1"), NUMBERS, NUMBERS, st.just(b"0-0"), PAYLOADS)
OURS = VALUES.map(lambda values: [x for pair in zip(FIELDS, values, strict=True) for x in pair])
ANYTHING = st.lists(st.binary(max_size=8), min_size=2, max_size=6).filter(lambda x: len(x) % 2 == 0)


@given(st.lists(st.tuples(ENTRY_IDS, OURS | ANYTHING), max_size=20))
def test_a_segment_gives_back_every_byte_of_every_entry(
    entries: list[tuple[bytes, list[bytes]]],
) -> None:
    content = write_segment(entries, list(records_of(entries)))
    assert list(read_segment(content)) == entries
    assert write_segment(entries, list(records_of(entries))) == content
    for line in gzip.decompress(content).splitlines():
        json.loads(line.decode())


@pytest.fixture
async def log(redis_url: str, namespace: str):  # type: ignore[no-untyped-def]
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setattr(archiver_module, "SEGMENT_EVENTS", 25)
    return Archive(Folder(str(tmp_path / "archive")))


async def raw_log(log: Log, partition: int) -> list[object]:
    found = await command(log.redis, "XRANGE", log.keys.log(partition), "-", "+")
    assert isinstance(found, list)
    return [list(row) for row in found]


async def raw_archive(archive: Archive, partition: int) -> list[object]:
    found: list[object] = []
    for link in await archive.links(partition):
        found += [[entry_id, flat] for entry_id, flat in await archive.entries(link)]
    return found


async def assert_archived(log: Log, archive: Archive) -> None:
    for partition in range(log.keys.partitions):
        assert await raw_log(log, partition) == await raw_archive(archive, partition)


async def test_everything_is_archived_byte_for_byte_and_in_order(
    log: Log, archive: Archive
) -> None:
    await make_jobs(log, 20)
    await work(log)
    await command(log.redis, "XADD", log.keys.log(0), "*", "not", "ours")
    told = await Archiver(log, archive).run(everything=True)
    assert sum(part.events for part in told) == 20 * 10 + 1
    await assert_archived(log, archive)
    again = await Archiver(log, Archive(archive.store)).run(everything=True)
    assert sum(part.events for part in again) == 0
    await make_jobs(log, 3)
    await Archiver(log, archive).run(everything=True)
    await assert_archived(log, archive)


async def test_young_events_wait_for_a_full_segment(log: Log, archive: Archive) -> None:
    await make_jobs(log, 10)
    assert sum(part.events for part in await Archiver(log, archive).run()) == 0
    await work(log)
    told = await Archiver(log, archive).run()
    assert all(part.events == part.segments * 25 for part in told)
    assert sum(part.segments for part in told) >= 2


async def test_the_workflows_that_jobs_used_are_archived_too(log: Log, archive: Archive) -> None:
    graph = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
    job_id = (await log.submit(graph)).job_id
    await Archiver(log, archive).run(everything=True)
    [link] = await archive.links(log.keys.partition_of(job_id))
    [sha256] = link.manifest.workflows
    kept = await archive.workflow(sha256)
    assert kept is not None
    assert json.loads(kept) == graph
    assert link.manifest.jobs == {job_id: (1, 1)}
    assert link.manifest.versions == {"job.submitted.v1": 1}


def graph(width: int) -> dict[str, object]:
    return {"1": {"class_type": "EmptyImage", "inputs": {"width": width}}}


async def assert_graphs_archived(archive: Archive, widths: Iterable[int]) -> None:
    """Each is there, and a manifest says so."""
    said = [x for p in range(2) for link in await archive.links(p) for x in link.manifest.graphs]
    kept = [(sha256, text) async for sha256, text in archive.workflows(said)]
    graphs = [json.loads(text) for _, text in kept if text is not None]
    assert len(graphs) == len(said)
    assert [graph(width) for width in widths if graph(width) not in graphs] == []


async def test_graphs_are_archived_however_many_there_are(log: Log, archive: Archive) -> None:
    for width in range(GRAPHS):
        await log.submit(graph(width))
    await Archiver(log, archive).run(everything=True)
    await assert_graphs_archived(archive, range(GRAPHS))


async def test_a_graph_that_redis_has_not_counts_where_the_archive_has_it(
    log: Log, archive: Archive
) -> None:
    for width in (1, 2):
        await log.submit(graph(width))
    await Archiver(log, archive).run(everything=True)
    links = [link for p in range(2) for link in await archive.links(p)]
    lost, kept = [sha256 for link in links for sha256 in link.manifest.graphs]
    (Path(archive.store.url) / workflow_name(lost)).unlink()
    for width in (1, 2):
        await log.submit(graph(width))
    for partition in range(2):
        keys = [log.keys.workflow(partition, sha256) for sha256 in (lost, kept)]
        await command(log.redis, "DEL", *keys)

    again = Archive(archive.store)
    await Archiver(log, again).run(everything=True)

    news = [link for p in range(2) for link in await again.links(p) if link not in links]
    assert {x for link in news for x in link.manifest.workflows} == {lost, kept}
    assert {x for link in news for x in link.manifest.graphs} == {kept}


async def test_two_archivers_at_once_write_one_chain(log: Log, archive: Archive) -> None:
    await make_jobs(log, 30)
    await work(log)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            one = Archiver(log, Archive(archive.store))
            tasks.start_soon(lambda one=one: one.run(everything=True))  # type: ignore[misc]
    await assert_archived(log, Archive(archive.store))


GRAPHS = 40
"""More than are archived at once, in each of two partitions."""


class Dying(Folder):
    """Dies at a stated write: before it, or right after it."""

    def __init__(self, path: str, at: int, after: bool) -> None:
        super().__init__(path)
        self._left, self._after = at, after

    async def create(self, name: str, content: bytes) -> bool:
        with self._write():
            return await super().create(name, content)

    async def create_all(self, files: Mapping[str, bytes]) -> None:
        # Each by itself: it may die between two of them.
        for name, content in files.items():
            with self._write():
                await super().create_all({name: content})

    @contextmanager
    def _write(self) -> Iterator[None]:
        self._left -= 1
        is_last = self._left == 0  # of another partition there may be a write beside this one
        if is_last and not self._after:
            raise ArchiveUnavailable(self.url, "died")
        yield
        if is_last:
            raise ArchiveUnavailable(self.url, "died")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 20])
async def test_a_death_at_any_write_loses_and_repeats_nothing(
    log: Log, archive: Archive, tmp_path: Path, at: int, after: bool
) -> None:
    await make_jobs(log, 20)
    for width in range(GRAPHS):
        await log.submit(graph(width))
    await work(log)
    dying = Dying(archive.store.url, at, after)
    with pytest.raises(ArchiveUnavailable):
        await Archiver(log, Archive(dying)).run(everything=True)
    await make_jobs(log, 2)
    again = Archive(archive.store)
    await Archiver(log, again).run(everything=True)
    await assert_archived(log, again)
    await assert_graphs_archived(again, range(GRAPHS))


async def test_the_mark_in_redis_is_never_ahead_of_the_archive(log: Log, archive: Archive) -> None:
    await make_jobs(log, 20)
    await Archiver(log, archive).run(everything=True)
    for partition in range(2):
        reader = (await readers(log, partition))["archive"]
        assert reader.required
        assert reader.position == await archive.archived_to(partition) != NO_ENTRY


def files(archive: Archive, pattern: str) -> Sequence[Path]:
    return sorted(Path(archive.store.url).glob(pattern))


async def damage_segment(archive: Archive) -> None:
    path = files(archive, "partition-*/*.jsonl.gz")[0]
    lines = gzip.decompress(path.read_bytes()).replace(b'"user":"u0"', b'"user":"u9"')
    path.write_bytes(gzip.compress(lines, mtime=0))


async def damage_manifest(archive: Archive) -> None:
    path = files(archive, "partition-*/00000000.manifest.json")[0]
    path.write_bytes(path.read_bytes().replace(b'"count"', b'"Count"'))


async def damage_chain(archive: Archive) -> None:
    path = files(archive, "partition-0/00000000.manifest.json")[0]
    path.write_bytes(path.read_bytes() + b" ")


async def remove_segment(archive: Archive) -> None:
    files(archive, "partition-*/*.jsonl.gz")[1].unlink()


@pytest.mark.parametrize("damage", [damage_segment, damage_manifest, damage_chain, remove_segment])
async def test_what_was_changed_is_seen(log: Log, archive: Archive, damage) -> None:  # type: ignore[no-untyped-def]
    await make_jobs(log, 30)
    await work(log)
    await Archiver(log, archive).run(everything=True)
    await damage(archive)
    again = Archive(archive.store)

    async def read() -> None:
        for partition in range(2):
            await raw_archive(again, partition)

    with pytest.raises(ArchiveDamaged):
        await read()


async def test_the_archive_of_another_namespace_is_refused(
    log: Log, archive: Archive, redis_url: str
) -> None:
    await make_jobs(log, 5)
    await Archiver(log, archive).run(everything=True)
    async with Log.open(redis_url, namespace=f"{log.keys.namespace}-b", partitions=2) as other:
        await make_jobs(other, 5)
        with pytest.raises(ArchiveForeign):
            await Archiver(other, Archive(archive.store)).run(everything=True)


async def test_events_that_were_trimmed_unarchived_are_told(log: Log, archive: Archive) -> None:
    await make_jobs(log, 5)
    await Archiver(log, archive).run(everything=True)
    far = f"{await server_time_ms(log.redis) + 1000}-0"
    await command(log.redis, "HSET", log.keys.trimmed(0), "to", far, "count", 3)
    with pytest.raises(Trimmed):
        await Archiver(log, archive).run(everything=True)
