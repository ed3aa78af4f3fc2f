"""One read that waits for all partitions in which nothing happens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.errors import Unavailable
from everfold.streams.events.record import NO_ENTRY
from everfold.streams.reading.quiet_partitions import Heard, QuietPartitions
from everfold.streams.redis.redis_errors import command
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.one_server]

PARTITIONS = 3


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=PARTITIONS) as log:
        yield log


@pytest.fixture
async def quiet(log: Log) -> AsyncIterator[QuietPartitions]:
    made = QuietPartitions(log, "quiet")
    yield made
    await made.aclose()


async def add(log: Log, partition: int) -> str:
    entry = await command(log.redis, "XADD", log.keys.log(partition), "*", "a", "b")
    assert isinstance(entry, bytes)
    return entry.decode()


async def is_read(quiet: QuietPartitions, partition: int, after: str = NO_ENTRY) -> bool:
    return await quiet.wait(partition, after, 0.0) is not Heard.UNKNOWN


async def test_news_of_one_partition_wake_nobody_else(log: Log, quiet: QuietPartitions) -> None:
    heard = dict[int, Heard]()

    async def wait(partition: int) -> None:
        heard[partition] = await quiet.wait(partition, NO_ENTRY, 3.0)

    for partition in range(PARTITIONS):
        await eventually(lambda p=partition: is_read(quiet, p), 15)  # type: ignore[misc]
    async with anyio.create_task_group() as tasks:
        for partition in range(PARTITIONS):
            tasks.start_soon(wait, partition)
        await add(log, 1)
        await eventually(lambda: heard == {1: Heard.SOMETHING}, 2)
    assert heard == {0: Heard.NOTHING, 1: Heard.SOMETHING, 2: Heard.NOTHING}


async def test_another_position_is_waited_for_anew(log: Log, quiet: QuietPartitions) -> None:
    await eventually(lambda: is_read(quiet, 0), 15)
    entry = await add(log, 0)
    assert await quiet.wait(0, entry, 10) is Heard.UNKNOWN
    await eventually(lambda: is_read(quiet, 0, entry), 15)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(add, log, 0)
        assert await quiet.wait(0, entry, 10) is Heard.SOMETHING


async def rows_of_clients(log: Log, part: str) -> list[str]:
    """Return what the server tells of each client that waits there under such a name."""
    text = await command(log.redis, "CLIENT LIST")
    assert isinstance(text, bytes)
    return [row for row in text.decode().splitlines() if part in row]


async def test_a_connection_that_is_cut_is_told_to_who_waits(
    log: Log, quiet: QuietPartitions
) -> None:
    await eventually(lambda: is_read(quiet, 0), 15)
    [row] = await eventually(lambda: rows_of_clients(log, ":quiet "), 15)
    async with anyio.create_task_group() as tasks:
        ident = row.split()[0].removeprefix("id=")
        tasks.start_soon(command, log.redis, "CLIENT KILL", "ID", ident)
        with pytest.raises(Unavailable):
            await quiet.wait(0, NO_ENTRY, 10)
    await eventually(lambda: is_read(quiet, 0), 15)


async def test_who_has_left_is_waited_for_no_more(log: Log, quiet: QuietPartitions) -> None:
    await eventually(lambda: is_read(quiet, 0), 15)
    quiet.leave(0)
    assert await quiet.wait(0, NO_ENTRY, 10) is Heard.UNKNOWN
    await add(log, 1)
