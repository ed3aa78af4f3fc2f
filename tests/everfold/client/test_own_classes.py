"""Texts and whole numbers of classes of the caller's own, such as enums, mean what they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Any, cast

import pytest

from everfold import Everfold, EverfoldError, InvalidName, JobFilter, Producer, Started
from everfold.streams.events.event import Submitted
from everfold.streams.redis.redis_errors import command
from tests.everfold.client.odd_values import NO_ARCHIVE

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "A", "inputs": {}}}


class OwnText(str):
    """A text that shows itself as another one."""

    __slots__ = ()

    def __str__(self) -> str:
        return "another"

    __repr__ = __str__


class OwnNumber(int):
    """A number that shows itself as another one."""

    def __str__(self) -> str:
        return "another"

    __repr__ = __str__


def of_enum(text: str) -> str:
    of_one: Any = Enum("of_one", {"one": text}, type=str)
    return cast("str", of_one.one)


Make = Callable[[str], str]
MAKES = [pytest.param(OwnText, id="str"), pytest.param(of_enum, id="Enum")]


@pytest.fixture
async def everfold(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace, partitions=2) as everfold:
        yield everfold


async def submitted(everfold: Everfold, job_id: str) -> Submitted:
    event = (await everfold.events(job_id))[0].event
    assert isinstance(event, Submitted)
    return event


@pytest.mark.parametrize("make", MAKES)
async def test_texts_of_a_submit(everfold: Everfold, make: Make) -> None:
    marks = {"kind": "k", "user": "u", "queue": "q", "priority": "high", "batch": "b"}
    lists = {"tags": ["t"], "needs": ["n"]}
    own = {name: make(text) for name, text in marks.items()}
    own_lists = {name: [make(text) for text in texts] for name, texts in lists.items()}
    given: Any = {**own, **own_lists, "on_missing": make("wait")}
    one = await everfold.submit(GRAPH, idempotency_key=make("1"), **given)
    [many] = await everfold.submit_many([GRAPH], idempotency_keys=[make("2")], **given)
    assert not isinstance(many, EverfoldError)
    for key, job_id in (("1", one.job_id), ("2", many.job_id)):
        event = await submitted(everfold, job_id)
        assert {name: getattr(event, name) for name in marks} == marks
        assert (event.tags, event.needs, event.idempotency_key) == (("t",), ("n",), key)
    plain: Any = {**marks, **lists, "on_missing": "wait"}
    again = await everfold.submit(GRAPH, idempotency_key="1", **plain)
    assert again.job_id == one.job_id
    found = await everfold.page(JobFilter(user=make("u"), statuses=[make("queued")]))
    assert {job.job_id for job in found.jobs} == {one.job_id, many.job_id}


@pytest.mark.parametrize("make", MAKES)
async def test_a_job_id(everfold: Everfold, make: Make) -> None:
    job_id = (await everfold.submit(GRAPH)).job_id
    own = make(job_id)
    assert (await everfold.get(own)).job_id == job_id
    assert await everfold.events(own) == await everfold.events(job_id)
    async for job in everfold.watch(own):
        assert (job.job_id, job.seq) == (job_id, 1)
        break
    assert await everfold.change_priority(own, make("low")) == "normal"
    assert await everfold.position(own) == 0
    assert (await everfold.cancel(own, reason=make("enough"))).reason == "enough"
    assert (await everfold.wait(own, 5)).job_id == job_id


@pytest.mark.parametrize("make", MAKES)
async def test_what_an_operator_gives(everfold: Everfold, make: Make) -> None:
    await everfold.submit(GRAPH)
    await everfold.pause_queue(make("default"), make("enough"))
    [status] = await everfold.queues()
    assert (status.name, status.pause_reason) == ("default", "enough")
    await everfold.resume_queue(make("default"))
    own: Any = [make(text) for text in ("running", "user", "ada")]
    await everfold.set_limit(own[0], own[1], own[2], 3)
    [limit] = await everfold.limits()
    assert (limit.what, limit.scope, limit.name) == ("running", "user", "ada")
    assert await everfold.remove_limit(own[0], own[1], own[2])
    assert all("another" not in f"{act}" for act in await everfold.acts())


@pytest.mark.parametrize("make", MAKES)
async def test_a_producer(everfold: Everfold, make: Make) -> None:
    job_id = (await everfold.submit(GRAPH)).job_id
    producer = Producer(everfold.log, make("r1"), [make("default")])
    [lease] = await producer.claim(most=OwnNumber(1))
    assert (lease.job_id, lease.runner) == (job_id, "r1")
    event, epoch = Started(attempt=1), OwnNumber(lease.epoch)
    await everfold.log.append(
        make(job_id), event, epoch=epoch, holder=make("r1"), expected=OwnNumber(2)
    )
    assert isinstance((await everfold.events(job_id))[-1].event, Started)


async def test_numbers(everfold: Everfold) -> None:
    job_id = (await everfold.submit(GRAPH)).job_id
    await everfold.cancel(job_id)
    events = await everfold.events(job_id)
    assert await everfold.events(job_id, after_seq=OwnNumber(1)) == events[1:]
    assert (await everfold.get(job_id, at_least_seq=OwnNumber(2))).seq == len(events)
    later = OwnNumber(4_000_000_000_000)
    delayed = (await everfold.log.submit(GRAPH, run_at_ms=later)).job_id
    assert (await submitted(everfold, delayed)).run_at_ms == 4_000_000_000_000
    key = everfold.log.keys.later(everfold.log.keys.partition_of(delayed))
    assert await command(everfold.log.redis, "ZSCORE", key, delayed) == b"4000000000000"


@pytest.mark.parametrize("archive", NO_ARCHIVE, ids=lambda value: type(value).__name__)
async def test_an_archive_that_is_no_text_is_refused(everfold: Everfold, archive: object) -> None:
    await everfold.submit(GRAPH)
    calls: list[Any] = [everfold.user_content, everfold.erase]
    for call in calls:
        with pytest.raises(InvalidName, match="archive"):
            await call("ada", archive=archive)
