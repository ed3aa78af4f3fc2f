"""One call that reads for all who follow partitions of one server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import anyio
import pytest
from redis.asyncio import Redis

from everfold.streams.appending.log import Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError, Unavailable, WrongKeyType
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.reading import shared_reader
from everfold.streams.reading.shared_reader import SharedReader, _Waiter
from everfold.streams.redis.pages import LogPages, read_new
from everfold.streams.redis.redis_errors import command
from tests.streams.queues.test_quiet_partitions import add, rows_of_clients
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.one_server]

PARTITIONS = 3


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=PARTITIONS) as log:
        yield log


@pytest.fixture
async def reader(log: Log) -> AsyncIterator[SharedReader]:
    made = SharedReader(log, "shared")
    yield made
    await made.aclose()


def ids(batch: list[Recorded]) -> list[str]:
    return [record.entry_id for record in batch]


async def test_each_gets_what_follows_its_own_position(log: Log, reader: SharedReader) -> None:
    first = [await add(log, partition) for partition in range(PARTITIONS)]
    second = await add(log, 1)
    found = dict[int, list[str]]()

    async def read(partition: int, after: str) -> None:
        found[partition] = ids(await reader.next(partition, after, 10))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, 0, NO_ENTRY)
        tasks.start_soon(read, 1, first[1])
        tasks.start_soon(read, 2, NO_ENTRY)
    assert found == {0: [first[0]], 1: [second], 2: [first[2]]}


async def test_at_most_so_many_are_given_and_the_rest_is_given_next(
    log: Log, reader: SharedReader
) -> None:
    entries = [await add(log, 0) for _ in range(50)]
    after, found = NO_ENTRY, list[str]()
    while len(found) < len(entries):
        batch = ids(await reader.next(0, after, 20))
        assert 0 < len(batch) <= 20
        found += batch
        after = found[-1]
    assert found == entries


async def test_a_page_is_shared_by_all_and_nobody_is_left_out(
    log: Log, reader: SharedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reader, "PAGE_BYTES", 100)
    entries = {p: [await add(log, p) for _ in range(20)] for p in range(PARTITIONS)}
    found = dict[int, list[str]]()

    async def follow(partition: int) -> None:
        mine = found.setdefault(partition, [])
        while len(mine) < 20:
            mine += ids(await reader.next(partition, mine[-1] if mine else NO_ENTRY, 10))

    async with anyio.create_task_group() as tasks:
        for partition in range(PARTITIONS):
            tasks.start_soon(follow, partition)
    assert found == entries


async def test_who_waits_is_woken_by_its_own_partition_alone(
    log: Log, reader: SharedReader
) -> None:
    found = dict[int, list[str]]()

    async def read(partition: int) -> None:
        found[partition] = ids(await reader.next(partition, NO_ENTRY, 10))

    async with anyio.create_task_group() as tasks:
        for partition in range(PARTITIONS):
            tasks.start_soon(read, partition)
        await eventually(lambda: rows_of_clients(log, "cmd=xread"), 15)
        entry = await add(log, 1)
        await eventually(lambda: found == {1: [entry]}, 2)
        tasks.cancel_scope.cancel()


async def test_who_comes_while_all_others_wait_is_not_left_out(
    log: Log, reader: SharedReader
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.next, 0, NO_ENTRY, 10)
        await eventually(lambda: rows_of_clients(log, "cmd=xread"), 15)
        entry = await add(log, 2)
        with anyio.fail_after(2):
            assert ids(await reader.next(2, NO_ENTRY, 10)) == [entry]
            tasks.start_soon(add, log, 2)
            assert len(await reader.next(2, entry, 10)) == 1
        tasks.cancel_scope.cancel()


async def test_a_wait_in_which_nothing_comes_ends(
    reader: SharedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_reader, "BLOCK_S", 0.1)
    with anyio.fail_after(5):
        assert await reader.next(0, NO_ENTRY, 10) == []


async def test_nobody_is_waited_for_when_all_have_left_during_a_read(
    reader: SharedReader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, left = reader._read, anyio.Event()

    async def read_and_left(asked: Mapping[int, _Waiter]) -> tuple[int, bool]:
        found = await read(asked)
        reader.leave(0)
        left.set()
        return found

    monkeypatch.setattr(reader, "_read", read_and_left)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.next, 0, NO_ENTRY, 10)
        await left.wait()
        await eventually(lambda: reader._task is not None and reader._task.done())
        tasks.cancel_scope.cancel()
    assert not caplog.records


async def read_broken(reader: SharedReader, told: list[EverfoldError]) -> None:
    try:
        await reader.next(1, NO_ENTRY, 10)
    except EverfoldError as error:
        told.append(error)


async def test_a_log_that_is_none_is_told_to_who_reads_it(log: Log, reader: SharedReader) -> None:
    entry = await add(log, 0)
    await command(log.redis, "SET", log.keys.log(1), "x")
    told = list[EverfoldError]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_broken, reader, told)
        assert ids(await reader.next(0, NO_ENTRY, 10)) == [entry]
    assert isinstance(told[0], WrongKeyType)


async def test_what_comes_to_logs_that_had_nothing_is_read_in_one_plain_command(
    log: Log, reader: SharedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = list[int]()

    async def counted(redis: Redis, after: Mapping[str, str], *, most: int) -> LogPages:
        found = await read_new(redis, after, most=most)
        counts.append(sum(len(rows) for rows in found.found.values() if isinstance(rows, list)))
        return found

    monkeypatch.setattr(shared_reader, "read_new", counted)
    entry = await add(log, 0)
    for _ in range(3):
        assert ids(await reader.next(0, NO_ENTRY, 10)) == [entry]
    assert not counts, "nothing is known of what follows an entry that was never the last"
    later = [await add(log, 0) for _ in range(5)]
    batch = ids(await reader.next(0, entry, 3))
    assert batch == later[:3]
    assert counts == [3]
    assert ids(await reader.next(0, batch[-1], 10)) == later[3:]
    assert counts == [3], "there was more behind it, which is measured"


async def test_a_log_that_is_none_any_more_is_told_to_who_reads_it(
    log: Log, reader: SharedReader
) -> None:
    entry, told = await add(log, 0), list[EverfoldError]()
    assert ids(await reader.next(0, NO_ENTRY, 10)) == [entry]
    await command(log.redis, "SET", log.keys.log(1), "x")
    reader._ends[1] = (NO_ENTRY, steady_s())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_broken, reader, told)
        later = await add(log, 0)
        assert ids(await reader.next(0, entry, 10)) == [later]
    assert isinstance(told[0], WrongKeyType)


async def test_a_connection_that_is_cut_is_told_to_who_waits(
    log: Log, reader: SharedReader
) -> None:
    async with anyio.create_task_group() as tasks:

        async def cut() -> None:
            [row] = await eventually(lambda: rows_of_clients(log, "cmd=xread"), 15)
            ident = row.split()[0].removeprefix("id=")
            await command(log.redis, "CLIENT KILL", "ID", ident)

        tasks.start_soon(cut)
        with pytest.raises(Unavailable):
            await reader.next(0, NO_ENTRY, 10)
    entry = await add(log, 0)
    assert ids(await reader.next(0, NO_ENTRY, 10)) == [entry]
