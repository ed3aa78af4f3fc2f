"""Which process works on a partition while one of them is about to stop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from everfold.projector.assignment.assignment import Assignment
from everfold.projector.assignment.member import Member
from everfold.streams.appending.log import Log
from everfold.streams.errors import ClientClosed
from everfold.streams.redis.redis_errors import command
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

LEASE_S = 0.6


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        yield log


async def test_work_that_cannot_be_cancelled_keeps_its_lease_to_its_end(log: Log) -> None:
    busy: list[str] = []
    met: list[list[str]] = []

    def worker(name: str) -> Assignment:
        async def work(_partition: int) -> None:
            busy.append(name)
            met.append(list(busy))
            with anyio.CancelScope(shield=True):
                await anyio.sleep(4 * LEASE_S)  # a delivery that is under way
            busy.remove(name)
            await anyio.sleep_forever()

        member = Member(log, "group", name, LEASE_S)
        return Assignment(member, 1, log.keys.projector, work, LEASE_S / 4)

    async with anyio.create_task_group() as others:
        async with anyio.create_task_group() as first:
            first.start_soon(worker("first").run)
            await eventually(lambda: busy == ["first"])
            others.start_soon(worker("second").run)
            await anyio.sleep(LEASE_S / 2)
            first.cancel_scope.cancel()
        await eventually(lambda: "second" in busy, within_s=10 * LEASE_S)
        others.cancel_scope.cancel()
    assert met == [["first"], ["second"]]


async def test_a_lease_that_cannot_be_read_keeps_no_other_partition_from_work(
    redis_url: str, namespace: str
) -> None:
    worked = set[int]()

    async def work(partition: int) -> None:
        worked.add(partition)
        await anyio.sleep_forever()

    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        await command(log.redis, "SET", log.keys.projector(1), "strange")
        member = Member(log, "group", "one", LEASE_S)
        assignment = Assignment(member, 4, log.keys.projector, work, LEASE_S / 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(assignment.run)
            await eventually(lambda: worked == {0, 2, 3})
            await command(log.redis, "DEL", log.keys.projector(1))
            await eventually(lambda: worked == {0, 1, 2, 3})
            tasks.cancel_scope.cancel()


async def test_who_works_on_a_closed_log_is_told(redis_url: str, namespace: str) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        pass

    async def work(_partition: int) -> None:
        raise AssertionError("nothing is to do")

    member = Member(log, "group", "one", LEASE_S)
    with pytest.raises(ExceptionGroup) as raised, anyio.fail_after(5):
        await Assignment(member, 1, log.keys.projector, work, LEASE_S / 4).run()
    assert [type(error) for error in raised.value.exceptions] == [ClientClosed]
