"""On a cluster each node has a memory of its own, and is trimmed by what it says itself."""

from __future__ import annotations

import pytest

from everfold.retention.keep import Keep, Memory
from everfold.retention.trimmer import Trimmer
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.errors import ServerUnreachable
from everfold.streams.events.event import Canceled
from everfold.streams.reading.reader import log_size
from tests.projector.jobs import GRAPH, work
from tests.support.groups.cluster import StartCluster

pytestmark = [pytest.mark.anyio, pytest.mark.long]

LEFT, PRESSED = Memory(10, 100), Memory(90, 100)


async def test_the_node_that_is_full_is_trimmed_and_no_other(own_cluster: StartCluster) -> None:
    url = own_cluster(3, 0).url
    async with Log.open(url, namespace="full", partitions=6) as log:
        for _ in range(60):
            job_id = (await log.submit(GRAPH)).job_id
            await log.append(job_id, Canceled(), epoch=UNLEASED)
        await work(log)
        home, full, away = sorted(
            log.redis.primaries(), key=lambda one: one is not log.redis.at(log.keys.meta())
        )
        nodes = {p: log.redis.at(log.keys.log(p)) for p in range(6)}
        before = {p: await log_size(log, p) for p in range(6)}
        assert all(before.values())

        async def memory(server: PipeliningRedis) -> Memory:
            if server is away:
                raise ServerUnreachable("it is away")
            return PRESSED if server is full else LEFT

        found = await Trimmer(log, Keep(), memory).trim_for_memory()
        after = {p: await log_size(log, p) for p in range(6)}

        assert found.events == sum(size for p, size in before.items() if nodes[p] is full)
        assert isinstance(found.error, ServerUnreachable)
        assert {p for p, size in after.items() if not size} == {
            p for p, node in nodes.items() if node is full
        }
        assert home is not full
