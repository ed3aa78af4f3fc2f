"""What a query over the archive can reach of the machine: nothing but the archive."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from everfold.archives import sql
from everfold.archives.sql import ask
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.archive.manifest import Manifest, sha256_of, write_manifest
from everfold.streams.archive.segment import LINE_LIMIT_BYTES
from everfold.streams.errors import ArchiveDamaged, Refused
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import make_jobs

pytestmark = pytest.mark.anyio


async def test_a_query_reaches_no_file_no_network_and_no_extension(
    log: Log, tmp_path: Path
) -> None:
    await make_jobs(log, 2)
    archive = Archive(Folder(str(tmp_path / "archive")))
    await Archiver(log, archive).run(everything=True)
    every = range(log.keys.partitions)
    secret, made = tmp_path / "secret.csv", tmp_path / "made"
    secret.write_text("a\nhidden\n")
    for query in (
        f"select * from '{secret}'",
        f"select * from read_text('{secret}')",
        f"select * from read_csv('{tmp_path}/*.csv')",
        f"select * from glob('{tmp_path}/*')",
        f"copy (select 1) to '{made}'",
        f"attach '{made}' as other",
        f"export database '{made}'",
        "install httpfs",
        "load httpfs",
        "select * from 'http://127.0.0.1:1/x.csv'",
        "set enable_external_access = true",
        "reset enable_external_access",
        f"set allowed_directories = ['{tmp_path}']",
        f"set lock_configuration = false; select * from '{secret}'",
    ):
        with pytest.raises(Refused, match="DuckDB"):
            await ask(archive, every, query)
    assert not made.exists()
    _, rows = await ask(archive, every, "select count(distinct job_id) from events")
    assert list(rows) == [(2,)]
    _, rows = await ask(archive, every, f"select * from '{secret}'", allow_files=True)
    assert list(rows) == [("hidden",)]


async def test_a_segment_that_is_a_bomb_is_not_given_to_duckdb(log: Log, tmp_path: Path) -> None:
    await make_jobs(log, 1)
    place = tmp_path / "archive"
    await Archiver(log, Archive(Folder(str(place)))).run(everything=True)
    forge_segment(place, b"0" * (2 * LINE_LIMIT_BYTES))
    with pytest.raises(ArchiveDamaged, match="a line of more than"):
        await ask(Archive(Folder(str(place))), range(log.keys.partitions), "select 1")


def forge_segment(place: Path, text: bytes) -> None:
    """Replace the first segment, and let its manifest vouch for the new one."""
    path = next(iter(place.glob("partition-*/*.manifest.json")))
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    (place / manifest.segment).unlink()
    content = gzip.compress(text)
    forged = replace(manifest, sha256=sha256_of(content))
    (place / forged.segment).write_bytes(content)
    path.write_bytes(write_manifest(forged))


async def test_a_query_has_a_limit_of_memory_and_uses_the_disk_beyond_it(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "MEMORY_LIMIT", "40MiB")
    monkeypatch.setattr(sql, "DISK_LIMIT", "100MiB")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    await make_jobs(log, 1)
    archive = Archive(Folder(str(tmp_path / "archive")))
    await Archiver(log, archive).run(everything=True)
    every = range(log.keys.partitions)
    wide = "select count(*) from (select range, hash(range) h from range({}) order by h)"
    _, rows = await ask(archive, every, wide.format("3_000_000"))
    assert list(rows) == [(3_000_000,)]
    with pytest.raises(Refused, match="Out of Memory"):
        await ask(archive, every, "select length(list(range)) from range(100_000_000)")
    with pytest.raises(Refused, match="locked"):
        await ask(archive, every, "set memory_limit = '100GB'")
    assert os.listdir(tmp_path) == ["archive"]


async def test_numbers_of_another_program_that_fit_no_column_are_null(
    log: Log, tmp_path: Path
) -> None:
    await make_jobs(log, 2)
    entry = ("j", "odd", "s", "9" * 20, "e", "9" * 30, "p", "0-0", "d", "{}")
    await command(log.redis, "XADD", log.keys.log(0), "*", *entry)
    archive = Archive(Folder(str(tmp_path / "archive")))
    await Archiver(log, archive).run(everything=True)
    query = "select seq, epoch, typeof(seq), typeof(epoch) from events order by seq nulls last"
    _, rows = await ask(archive, range(log.keys.partitions), query)
    whole = ("BIGINT", "BIGINT")
    assert list(rows) == [(1, 0, *whole), (1, 0, *whole), (None, None, *whole)]
