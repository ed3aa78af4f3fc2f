"""Wrong data in the keys of a namespace, and in its archive: named, and never a traceback."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from everfold.archives.opening import remember_archive
from everfold.commands.audit.prove import prove
from everfold.commands.diagnosis.doctor import _examine
from everfold.commands.session import Session
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.check import check_archive
from everfold.streams.archive.folder import Folder
from everfold.streams.errors import CorruptLog, EverfoldError
from everfold.streams.leases.backends import BackendEntry, note_backends
from everfold.streams.leases.registry import RunnerEntry, register_runner
from everfold.streams.reading.readers import readers
from everfold.streams.redis.redis_errors import command
from everfold.streams.retention.trimming import trim_bounds
from tests.projector.jobs import assert_projected, make_jobs, projecting, work

pytestmark = pytest.mark.anyio

WRONG = (b"\xff{", b"9" * 30)
FOREIGN_ENTRIES = (
    (b"\xff", b"x"),
    (b"j", b"\xff"),
    (b"j", b"zz", b"s", b"2", b"e", b"1", b"p", b"0-0", b"d", b'{"type":"job.started"}'),
    (b"j", b"zz", b"s", b"9" * 30, b"e", b"1", b"p", b"\xff", b"d", b"{}"),
    (b"j", b"zz", b"s", b"3", b"e", b"1", b"p", b"x", b"d", b"{}"),
)


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        log.retry_for_s = 0.0
        yield log


async def filled(log: Log, place: Path) -> Archive:
    """Fill every kind of key that a namespace has; return its archive."""
    jobs = await make_jobs(log, 2)
    await work(log, steps=1)
    jobs += await make_jobs(log, 1)
    async with projecting(log):
        await assert_projected(log, jobs)
    archive = Archive(Folder(str(place)))
    await Archiver(log, archive).run(everything=True)
    await remember_archive(log, archive)
    # Nobody listens at this address.
    url, keys = "http://127.0.0.1:9", log.keys
    await register_runner(
        log,
        RunnerEntry(runner="r", host="h", pid=1, queues=("default",), backends=(url,), since_ms=1),
    )
    await note_backends(log, [BackendEntry(name=url, seen_ms=1)])
    subscription = keys.subscription(0, "sub")
    for key, field, value in (
        (keys.retired(), url, '{"actor":"a","at_ms":1}'),
        (keys.parked(0), jobs[0], "{}"),
        (keys.lost_writes(), jobs[0], '{"job_id":"a","seen_seq":1,"found_seq":1}'),
        (keys.subscriptions(), "sub", '{"wants":{},"about":"a","made_at_ms":1}'),
        (subscription.checkpoint(), "checkpoint", "0-0"),
        (subscription.checkpoint(), "until_ms", "1"),
        (subscription.checkpoint(), "delivered", "1"),
        (subscription.held(), jobs[0], "{}"),
        (keys.trimmed(0), "to", "0-0"),
        (keys.trimmed(0), "count", "0"),
        (keys.processes(), "p", "{}"),
        (keys.given_up(), jobs[0], "{}"),
        (keys.abandoned(), "p", "{}"),
    ):
        await command(log.redis, "HSET", key, field, value)
    await command(log.redis, "ZADD", keys.blocked(0), 1, jobs[0])
    return archive


async def look(log: Log, archive: Archive) -> list[str]:
    """Do what doctor, `audit verify`, `archive readers` and `archive trim` do; return what is told
    to be wrong. Whatever is raised is an error of the tree."""
    told = [one.found for one in [one async for one in _examine(log)] if one.advice]
    for call in (verify(log), trim_bounds(log, 0, 0.0), readers(log, 0)):
        try:
            found = await call
        except EverfoldError as error:
            told.append(str(error))
        else:
            told += map(str, getattr(found, "differences", ()))
    try:
        told += [str(one) async for one in check_archive(log, archive, 0) if isinstance(one, str)]
    except EverfoldError as error:
        told.append(str(error))
    return told


async def spoilings(log: Log, key: str, kind: str) -> AsyncIterator[str]:
    """Spoil a key in one way after the other."""
    redis = log.redis
    await command(redis, "DEL", key)
    await command(redis, "SET", key, "x")
    yield "another type"
    if kind == "hash":
        for value in WRONG:
            yield await _restored(log, key)
            for field in cast("list[bytes]", await command(redis, "HKEYS", key)):
                await command(redis, "HSET", key, field, value)
            yield repr(value)
        yield await _restored(log, key)
        await command(redis, "HSET", key, b"\xff", b"{}")
        yield "a field that is no text"
    if kind in ("zset", "set"):
        yield await _restored(log, key)
        await command(redis, *(("ZADD", key, "inf") if kind == "zset" else ("SADD", key)), b"\xff")
        yield "a member that is no text"
    if kind == "stream":
        for entry in FOREIGN_ENTRIES:
            yield await _restored(log, key)
            await command(redis, "XADD", key, "*", *entry)
            yield f"an entry {entry!r}"


async def _restored(log: Log, key: str) -> str:
    """Bring a key back as `keep` found it; return the word for that."""
    dump = await command(log.redis, "GET", f"kept:{key}")
    await command(log.redis, "DEL", key)
    await command(log.redis, "RESTORE", key, 0, cast("bytes", dump))
    return ""


async def keep(log: Log, key: str) -> str:
    """Keep a copy of a key; return its type."""
    await command(
        log.redis, "SET", f"kept:{key}", cast("bytes", await command(log.redis, "DUMP", key))
    )
    return cast("bytes", await command(log.redis, "TYPE", key)).decode()


async def test_whatever_a_key_holds_no_look_falls_over(log: Log, tmp_path: Path) -> None:
    archive = await filled(log, tmp_path)
    pattern = f"*{log.keys.namespace}*"
    names = [
        name.decode() for name in cast("list[bytes]", await command(log.redis, "KEYS", pattern))
    ]
    keys = log.keys
    must_name = {
        keys.trimmed(0): "trimmed",
    }
    assert must_name.keys() <= set(names)
    for key in sorted(names):
        kind = await keep(log, key)
        async for how in spoilings(log, key, kind):
            if not how:
                continue
            try:
                told = await look(log, archive)
            except Exception as error:
                raise AssertionError(f"{key}: {how}") from error
            if key in must_name and how in map(repr, WRONG):
                assert any(key in line for line in told), (key, how, told)
        await _restored(log, key)


@pytest.mark.parametrize("field", ["partitions", "schema"])
@pytest.mark.parametrize("value", [b"\xff", b"-1", b"x", b"9" * 30, b"0", b"1e3"])
async def test_a_namespace_whose_numbers_are_wrong_is_not_opened(
    field: str, value: bytes, log: Log, redis_url: str
) -> None:
    if (field, value) == ("schema", b"0"):
        pytest.skip("there was one before the first")
    await command(log.redis, "HSET", log.keys.meta(), field, value)
    with pytest.raises(CorruptLog, match=log.keys.meta()):
        async with Log.open(redis_url, namespace=log.keys.namespace):
            pass


MANIFESTS: list[dict[str, object]] = [
    {"first": "x"},
    {"last": "\u0665-0"},
    {"last": "0-1"},
    {"count": 0},
    {"count": -1},
    {"count": 10**30},
    {"format": 0},
    {"format": 99},
    {"number": 7},
    {"partition": -1},
    {"sha256": "../../../../etc/passwd"},
    {"sha256": "0" * 64},
    {"previous": "x"},
    {"jobs": {}},
    {"jobs": {"other": [1, 2]}},
    {"jobs": []},
    {"workflows": ["../../x"]},
    {"workflows": 5},
    {"graphs": ["\N{GRINNING FACE}"]},
    {"generation": None},
]


@pytest.mark.parametrize("change", MANIFESTS, ids=str)
async def test_a_manifest_with_a_wrong_value_is_named(
    change: dict[str, object],
    log: Log,
    redis_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await make_jobs(log, 1)
    archive = Archive(Folder(str(tmp_path)))
    await Archiver(log, archive).run(everything=True)
    await remember_archive(log, archive)
    name = (await archive.links(0))[0].manifest.name
    forge(tmp_path / name, change)
    told = [str(one) async for one in check_archive(log, Archive(Folder(str(tmp_path))), 0)]
    assert any("is damaged" in line for line in told), told
    session = Session(namespace=log.keys.namespace, redis_url=redis_url)
    assert await prove(session=session) == 1
    assert "damaged" in capsys.readouterr().out


def forge(path: Path, change: dict[str, object]) -> None:
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | change))
    assert os.path.exists(path)
