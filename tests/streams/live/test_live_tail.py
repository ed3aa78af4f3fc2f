"""The log and what backends say beside it, followed in one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.events.event import Canceled, CancelRequested
from everfold.streams.live import live_tail
from everfold.streams.live.live_message import LiveEntry, NodeBegan
from everfold.streams.live.live_stream import pass_on
from everfold.streams.live.live_tail import Batch, tail_with_live
from everfold.streams.redis.pages import entry_page
from everfold.streams.redis.redis_errors import command

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield log


async def told_until(batches: AsyncIterator[Batch], end: str, times: int = 1) -> list[str]:
    """Return messages and events by their words, up to one of them, told so many times."""
    told = list[str]()
    async with asyncio.timeout(15):
        while told.count(end) < times:
            batch = await anext(batches)
            told += [entry.message.node for entry in batch.live]  # type: ignore[union-attr]
            told += [type(record.event).__name__ for record in batch.records]
    return told


async def test_what_was_said_before_an_event_comes_before_it(log: Log) -> None:
    async with tail_with_live(log) as batches:
        job_id = (await log.submit({"1": {"class_type": "A", "inputs": {}}})).job_id
        for number in range(300):
            await pass_on(log, [LiveEntry(job_id, 1, NodeBegan(str(number)))])
        await log.append(job_id, CancelRequested(), epoch=0)
        await pass_on(log, [LiveEntry(job_id, 1, NodeBegan("last"))])
        await log.append(job_id, Canceled(), epoch=UNLEASED)
        told = await told_until(batches, "Canceled")

    nodes = [*map(str, range(300)), "last"]
    assert [word for word in told if word in nodes] == nodes
    assert told[-1] == "Canceled"


async def test_partitions_that_are_behind_are_read_side_by_side(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most = 0, 0
    read = entry_page

    async def counted(*arguments: object) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(0.01)
            return await read(*arguments)  # type: ignore[arg-type]
        finally:
            under_way -= 1

    async with tail_with_live(log) as batches:
        waiting = asyncio.ensure_future(told_until(batches, "Canceled", times=100))
        monkeypatch.setattr(live_tail, "entry_page", counted)
        graphs = [{str(number): {"class_type": "A", "inputs": {}}} for number in range(100)]
        ids = [(await log.submit(graph)).job_id for graph in graphs]
        await asyncio.gather(*(log.append(one, CancelRequested(), epoch=0) for one in ids))
        await asyncio.gather(*(log.append(one, Canceled(), epoch=UNLEASED) for one in ids))
        told = await waiting

    assert (told.count("Submitted"), told.count("CancelRequested")) == (100, 100)
    assert most > 1


async def test_a_live_key_of_another_type_does_not_stop_the_log(log: Log) -> None:
    async with tail_with_live(log) as batches:
        # Two jobs, as likely as not in two partitions, between which there is no order.
        waiting = asyncio.ensure_future(told_until(batches, "Canceled", times=2))
        for partition in range(log.keys.partitions):
            await command(log.redis, "SET", log.keys.live(partition), "strange")
        for word in "ab":
            job_id = (await log.submit({word: {"class_type": "A", "inputs": {}}})).job_id
            await log.append(job_id, CancelRequested(), epoch=0)
            await log.append(job_id, Canceled(), epoch=UNLEASED)
        assert (await waiting).count("Submitted") == 2
