"""What was acknowledged is found by what the head of its job tells, or else in the log."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.events.event import CancelRequested, Progressed
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis import scripts
from everfold.streams.redis.redis_errors import command
from tests.streams.scripts.script_states import GRAPH

pytestmark = pytest.mark.anyio

Wanted = tuple[str, str]
"""Entry id, and event id."""


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def found(log: Log, wanted: list[Wanted], author: str) -> list[bool]:
    keys = log.keys
    return await scripts.find_entries(
        log.redis,
        logs=[keys.log(0)],
        trimmed=[keys.trimmed(0)],
        entries=[(0, entry_id, "a", event_id, author) for entry_id, event_id in wanted],
    )


async def test_an_event_counts_at_its_own_place_alone(log: Log) -> None:
    first = await log.submit(GRAPH, job_id="a")
    new = log.new_event("a", CancelRequested(), epoch=0)
    asked = await log.commit(new)
    places = [(asked.entry_id, new.event_id), (first.entry_id, new.event_id), ("1-1", new.event_id)]
    for author in (new.author, "", "another"):
        assert await found(log, places, author) == [True, False, False]


async def test_events_that_the_head_has_forgotten_are_found_in_the_log(log: Log) -> None:
    await log.submit(GRAPH, job_id="a")
    [lease] = await Dispatch(log, "r1").claim(0, ["default"], 1)
    runner, wanted = log.acting_as("r1"), list[Wanted]()
    for step in range(10):
        event = Progressed(attempt=1, value=step / 10, nodes_done=0, nodes_total=1, node="1")
        new = runner.new_event("a", event, epoch=lease.epoch, holder="r1")
        wanted.append(((await runner.commit(new)).entry_id, new.event_id))
    assert await found(log, wanted, new.author) == [True] * 10
    await command(log.redis, "XDEL", log.keys.log(0), wanted[0][0])
    assert await found(log, wanted, new.author) == [False] + [True] * 9
