"""Partitions at two nodes, one of which is silent or answers errors: the others notice nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease, Renewed
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import (
    PartitionsUnavailable,
    ServerError,
    ServerReadOnly,
    ServerRefusesAccess,
    ServerUnreachable,
    WrongKeyType,
)
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.redis.each import Outcomes, each
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.rounds import Rounds
from tests.support.groups.split_redis import split_log
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

PARTITIONS, BEHIND = 6, (1, 4)
HEALTHY = [0, 2, 3, 5]
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@asynccontextmanager
async def opened(
    url: str, namespace: str, timeout_s: float = 2.0
) -> AsyncIterator[tuple[Log, FaultProxy]]:
    async with (
        FaultProxy(url) as proxy,
        split_log(
            url, proxy, namespace, partitions=PARTITIONS, behind=BEHIND, timeout_s=timeout_s
        ) as log,
    ):
        yield log, proxy


async def size(log: Log, partition: int) -> int:
    found = await command(log.redis, "XLEN", log.keys.log(partition))
    assert isinstance(found, int)
    return found


async def leases_everywhere(log: Log, dispatch: Dispatch) -> dict[int, Lease]:
    """Lease a job in each partition."""
    found: dict[int, Lease] = {}
    while len(found) < PARTITIONS:
        job_id = (await log.submit(GRAPH)).job_id
        partition = log.keys.partition_of(job_id)
        if partition not in found:
            (found[partition],) = await dispatch.claim(partition, ["default"], 1)
    return found


async def test_all_answer(server_url: str, namespace: str) -> None:
    async with opened(server_url, namespace) as (log, _):
        outcomes = await each(log, lambda partition: size(log, partition))

        assert outcomes.all() == [0] * PARTITIONS
        assert outcomes.failure is None


async def test_those_of_a_silent_node_are_named_and_the_others_answer(
    server_url: str, namespace: str
) -> None:
    async with opened(server_url, namespace, timeout_s=10.0) as (log, proxy):
        proxy.black_hole()
        began_s = steady_s()
        outcomes = await each(log, lambda partition: size(log, partition), grace_s=0.3)

        assert steady_s() - began_s < 8.0
        assert list(outcomes.values) == HEALTHY
        assert set(map(type, outcomes.errors.values())) == {ServerUnreachable}
        with pytest.raises(PartitionsUnavailable, match="no answer from partitions 1, 4") as raised:
            outcomes.all()
        assert raised.value.partitions == BEHIND


async def test_errors_are_those_of_their_partition(server_url: str, namespace: str) -> None:
    async with opened(server_url, namespace) as (log, proxy):
        proxy.answer_errors("SOMETHING new", containing=log.keys.tag(4).encode())
        outcomes = await each(log, lambda partition: size(log, partition))

        assert list(outcomes.errors) == [4]
        assert isinstance(outcomes.errors[4], ServerError)
        assert isinstance(outcomes.failure, PartitionsUnavailable)


async def test_what_nobody_should_repeat_is_raised_as_it_is(
    server_url: str, namespace: str
) -> None:
    async with opened(server_url, namespace) as (log, _):
        await command(log.redis, "SET", log.keys.log(2), "x")

        assert isinstance((await each(log, lambda p: size(log, p))).failure, WrongKeyType)


async def test_where_nobody_answers_the_error_is_that_of_the_server(
    server_url: str, namespace: str
) -> None:
    async with opened(server_url, namespace) as (log, proxy):
        proxy.answer_errors("READONLY a replica")
        outcomes = await each(log, lambda partition: size(log, partition), BEHIND)

        assert isinstance(outcomes.failure, ServerReadOnly)


async def test_an_error_that_is_no_answer_of_the_server_ends_all(
    server_url: str, namespace: str
) -> None:
    async def broken(partition: int) -> None:
        raise ZeroDivisionError

    async with opened(server_url, namespace) as (log, _):
        with pytest.raises(ZeroDivisionError):
            await each(log, broken)


async def test_leases_of_other_nodes_are_renewed_while_one_is_silent(
    server_url: str, namespace: str
) -> None:
    async with opened(server_url, namespace, timeout_s=10.0) as (log, proxy):
        dispatch = Dispatch(log, "r1", lease_s=5.0)
        leases = await leases_everywhere(log, dispatch)
        assert all(isinstance(one, Renewed) for one in await dispatch.renew([*leases.values()]))
        proxy.black_hole()
        for _ in range(3):
            began_s = steady_s()
            with pytest.raises(PartitionsUnavailable) as raised:
                await dispatch.renew([*leases.values()])
            took_s = steady_s() - began_s

            assert raised.value.partitions == BEHIND
            assert took_s < 4.0  # of the five of a lease
            async with Log.open(server_url, namespace=namespace) as direct:
                for partition in HEALTHY:
                    assert await idle_s(direct, leases[partition]) < took_s + 1.0


async def idle_s(log: Log, lease: Lease) -> float:
    partition = log.keys.partition_of(lease.job_id)
    key = log.keys.dispatch(partition, lease.queue, lease.priority)
    ask = ("XPENDING", key, "runners", lease.dispatch_id, lease.dispatch_id, 1)
    rows = await command(log.redis, *ask)
    assert isinstance(rows, list)
    return float(rows[0][2]) / 1000


async def test_own_leases_of_other_nodes_are_found(server_url: str, namespace: str) -> None:
    async with opened(server_url, namespace) as (log, proxy):
        dispatch = Dispatch(log, "r1")
        leases = await leases_everywhere(log, dispatch)
        lanes = [("default", "normal")]
        assert len(await dispatch.own_leases(lanes)) == PARTITIONS
        assert await dispatch.has_leases("r1", ["default"])
        proxy.answer_errors("LOADING for ever")

        with pytest.raises(PartitionsUnavailable):
            await dispatch.own_leases(lanes)
        assert await dispatch.has_leases("r1", ["default"])  # a healthy one has some
        with pytest.raises(PartitionsUnavailable):
            await dispatch.has_leases("r2", ["default"])
        assert (await dispatch.own_leases_in(0, lanes))[0].job_id == leases[0].job_id


async def test_rounds_go_on_in_other_partitions_and_come_back(
    server_url: str, namespace: str
) -> None:
    seen = Counter[int]()

    async with opened(server_url, namespace, 4.0) as (log, proxy), Rounds(log) as rounds:

        async def look(partition: int) -> int:
            found = await size(log, partition)
            seen[partition] += 1
            return found

        assert list((await rounds.go(look)).values) == [*range(PARTITIONS)]
        proxy.black_hole()
        began_s, failed = steady_s(), set[int]()
        while steady_s() - began_s < 5.0:
            outcomes = await rounds.go(look)
            assert list(outcomes.values) == HEALTHY
            failed |= outcomes.errors.keys()
            assert rounds.under_way <= set(BEHIND)
            await anyio.sleep(0.05)
        assert failed == set(BEHIND)
        assert all(seen[partition] > 20 for partition in HEALTHY), seen
        assert all(seen[partition] == 1 for partition in BEHIND), seen
        await proxy.heal()

        async def all_answer() -> bool:
            return len((await rounds.go(look)).values) == PARTITIONS

        await eventually(all_answer)


async def test_rounds_wait_for_a_link_on_which_all_is_slow(server_url: str, namespace: str) -> None:
    async with opened(server_url, namespace) as (log, _), Rounds(log) as rounds:

        async def look(partition: int) -> int:
            await anyio.sleep(1.3)
            return await size(log, partition)

        await rounds.go(look)  # nobody knows yet how slow it is

        async def all_answer() -> bool:
            return len((await rounds.go(look)).values) == PARTITIONS

        await eventually(all_answer, 10)


def test_whoever_takes_what_there_is_learns_what_is_missing() -> None:
    away = ServerUnreachable("no answer")
    missing = {3}
    assert Outcomes({0: "a", 2: "c"}, {1: away, 4: away}).some(missing) == ["a", "c"]
    assert missing == {1, 3, 4}
    with pytest.raises(PartitionsUnavailable):
        Outcomes({0: "a"}, {1: away}).some(None)
    with pytest.raises(ServerUnreachable):
        Outcomes[str]({}, {1: away}).some(missing)


def test_a_node_that_lets_nobody_in_is_missing_as_one_that_is_away() -> None:
    refused = ServerRefusesAccess("the server wants a password")
    missing = set[int]()
    assert Outcomes({0: "a"}, {1: refused}).some(missing) == ["a"]
    assert missing == {1}
    with pytest.raises(PartitionsUnavailable, match="partition 1: the server wants a password"):
        Outcomes({0: "a"}, {1: refused}).all()
    with pytest.raises(ServerRefusesAccess):
        Outcomes[str]({}, {1: refused}).all()
