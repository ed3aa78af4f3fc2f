"""Passing on what backends say, while somebody looks on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.runner.live.live_channel import LiveChannel
from everfold.streams.appending.log import Log
from everfold.streams.live.live_message import (
    Began,
    LiveEntry,
    NodeBegan,
    Preview,
    PreviewNotice,
    Streamed,
)
from everfold.streams.live.live_stream import (
    LIVE_TTL_S,
    listen,
    live_entries,
    newest_previews,
    pass_on,
)
from everfold.streams.redis.pages import entry_page
from everfold.streams.redis.redis_errors import command

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield log


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end waits for a server for longer than any machine is busy."""
    monkeypatch.setattr("everfold.runner.live.live_channel.FLUSH_WITHIN_S", 60.0)


async def written(log: Log, job_id: str) -> list[LiveEntry]:
    rows = await entry_page(log.redis, log.keys.live(log.keys.partition_of(job_id)))
    return [LiveEntry(one.job_id, one.attempt, one.message) for one in live_entries(rows)]


@pytest.mark.usefixtures("patience")
async def test_what_is_said_before_the_end_is_written_before_it(log: Log) -> None:
    channel = LiveChannel(log)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.run)
        channel.set_open(True)
        channel.add("job", 2, [Began(), NodeBegan("1"), Preview("1", "image/png", b"a\nb")])
        with anyio.fail_after(20):
            await channel.finish("job")
        tasks.cancel_scope.cancel()

    told: list[Streamed] = [Began(), NodeBegan("1"), PreviewNotice()]
    assert await written(log, "job") == [LiveEntry("job", 2, one) for one in told]
    assert await newest_previews(log, ["job", "other"]) == {
        "job": Preview("1", "image/png", b"a\nb")
    }
    key = log.keys.live(log.keys.partition_of("job"))
    assert 0 < int(str(await command(log.redis, "PTTL", key))) <= LIVE_TTL_S * 1000


@pytest.mark.usefixtures("patience")
async def test_nothing_is_kept_while_nobody_listens(log: Log) -> None:
    channel = LiveChannel(log)
    channel.add("job", 1, [Began()])
    channel.set_open(True)
    channel.add("job", 1, [Began()])
    channel.set_open(False)
    with anyio.fail_after(20):
        await channel.finish("job")
    assert await written(log, "job") == []


async def test_a_read_from_before_a_call_does_not_close_it(log: Log) -> None:
    channel = LiveChannel(log)
    before = channel.calls
    channel.call()
    seen = list[bool]()
    for is_open, calls in ((False, before), (False, channel.calls), (True, channel.calls)):
        channel.note_read(is_open, calls)
        seen.append(channel.is_open)
    assert seen == [True, False, True]


async def test_an_end_does_not_wait_for_a_server_that_is_away(log: Log) -> None:
    channel = LiveChannel(log)  # nobody writes
    channel.set_open(True)
    channel.add("job", 1, [Began()])
    with anyio.fail_after(20):
        await channel.finish("job")


async def test_somebody_listens_for_a_while(log: Log) -> None:
    await listen(log, now=True)
    assert int(str(await command(log.redis, "PTTL", log.keys.listening()))) > 0


async def test_strange_entries_and_pictures_are_left_out(log: Log) -> None:
    key = log.keys.live(log.keys.partition_of("job"))
    await pass_on(log, [LiveEntry("job", 1, NodeBegan("1" * 40_000))])
    await command(log.redis, "XADD", key, "*", "j", "job", "a", "-1", "d", "{}")
    await command(log.redis, "XADD", key, "*", "j", "job", "a", "1", "d", '{"t":"later"}')
    await command(log.redis, "XADD", key, "*", "other", "1")
    await command(log.redis, "SET", log.keys.preview("job"), b"[1]\nabc")
    await pass_on(log, [LiveEntry("job", 1, Began())])

    assert await written(log, "job") == [LiveEntry("job", 1, Began())]
    assert await newest_previews(log, ["job"]) == {}
