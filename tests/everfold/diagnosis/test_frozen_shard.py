"""One shard of a cluster hangs: batches, short ids and the proof name what is missing, in time."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

import pytest

from everfold import Everfold
from everfold.projector.reading.verify import verify
from everfold.streams.errors import PartitionsUnavailable
from tests.projector.jobs import GRAPH, assert_projected, projecting
from tests.support.groups.cluster import StartCluster

pytestmark = [pytest.mark.anyio, pytest.mark.long]

WITHIN_S = 14.0
"""Two calls of which each leaves a silent node after some seconds, on a busy machine."""


async def missing(call: Callable[[], Awaitable[object]]) -> PartitionsUnavailable:
    began_s = time.monotonic()
    with pytest.raises(PartitionsUnavailable) as raised:
        await call()
    assert time.monotonic() - began_s < WITHIN_S
    return raised.value


async def test_what_is_missing_is_named_in_time(own_cluster: StartCluster) -> None:
    cluster = own_cluster(3, 0, cluster_require_full_coverage="no")
    async with Everfold.connect(cluster.url, namespace="shard", config=os.devnull) as everfold:
        log = everfold.log
        await log.make()
        jobs = [(await log.submit(GRAPH, batch="b")).job_id for _ in range(30)]
        async with projecting(log):
            await assert_projected(log, jobs)
        every = range(log.keys.partitions)
        home = cluster.primary_of(log.keys.meta())
        at = {p: cluster.primary_of(log.keys.log(p)) for p in every}
        frozen = next(node for node in at.values() if node is not home)
        away = tuple(p for p in every if at[p] is frozen)
        here = next(job for job in jobs if log.keys.partition_of(job) not in away)
        there = next(job for job in jobs if log.keys.partition_of(job) in away)
        frozen.freeze()
        for call in (
            everfold.batch("b").progress,
            everfold.batches,
            lambda: everfold.find(there[-10:]),
            lambda: verify(log),
        ):
            assert (await missing(call)).partitions == away
        # One that is known is not taken for the only one.
        found = await missing(lambda: everfold.find(here[-10:]))
        assert found.partitions == away
        assert here in str(found)
        assert await everfold.find(here) == here
        frozen.thaw()
