"""The intent to send a prompt waits for a replica where Sentinel or a cluster names some."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.to_thread import run_sync

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.errors import ServerRefusesAccess, TooFewReplicas
from everfold.streams.events.event import Progressed, Submitting
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.nodes.endpoint import Endpoint
from everfold.streams.nodes.sentinel_replies import Named, living_replicas
from everfold.streams.redis.replicas import ALL_WITHIN_S, NONE, Replicas
from tests.support.groups.cluster import StartCluster
from tests.support.groups.replicas import replicated
from tests.support.groups.sentinels import Sentinels, StartSentinels
from tests.support.groups.server_group import Node
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@contextlib.asynccontextmanager
async def opened(url: str, replicas: int | None = None) -> AsyncIterator[Log]:
    async with Log.open(url, partitions=1, replicas=replicas, replicas_within_s=0.5) as log:
        yield log


async def leased(log: Log) -> Lease:
    await log.submit(GRAPH)
    [lease] = await Dispatch(log, "r1").claim(0, ("default",), 1)
    return lease


async def intend(log: Log, lease: Lease) -> None:
    event = Submitting(
        id="intent", attempt=1, backend="b", boot="x", server="s", prompt_id="p", client_id="c"
    )
    await log.append(lease.job_id, event, epoch=lease.epoch)


async def waits_for(log: Log, replica: Node) -> None:
    """Have a prompt intended while the only replica hangs, until that is called down."""
    lease = await leased(log)
    await eventually(lambda: log.redis.replicas_of(log.keys.log(0)) == 1, 30)
    replica.freeze()
    log.retry_for_s = 0.0
    with pytest.raises(TooFewReplicas):
        await intend(log, lease)
    event = Progressed(attempt=1, value=0.5, nodes_done=0, nodes_total=1)
    await log.append(lease.job_id, event, epoch=lease.epoch)
    await log.submit(GRAPH)
    async with opened(str(log.url.reveal())) as later:
        later.retry_for_s = 40.0
        with anyio.fail_after(40):
            await intend(later, lease)
        assert later.redis.replicas_of(log.keys.log(0)) == 0
    replica.thaw()


async def test_an_intent_waits_until_most_sentinels_call_the_replica_down(
    own_sentinels: StartSentinels,
) -> None:
    service = own_sentinels(replicas=1)
    async with opened(service.url) as log:
        await waits_for(log, service.replicas[0])


async def test_an_intent_waits_until_most_masters_call_the_replica_down(
    own_cluster: StartCluster,
) -> None:
    cluster = own_cluster(masters=3, replicas=1)
    async with opened(cluster.url) as log:
        [replica] = cluster.replicas(cluster.primary_of(log.keys.log(0)))
        await waits_for(log, replica)


async def test_an_intent_is_not_confirmed_by_one_replica_while_another_takes_the_primary_s_place(
    redis_sentinels: Sentinels,
) -> None:
    async with opened(redis_sentinels.url) as log:
        lease = await leased(log)
        await eventually(lambda: log.redis.replicas_of(log.keys.log(0)) == 2, 30)
        log.retry_for_s = 0.0
        # What Sentinel does first in a failover by hand; the other replica still follows.
        await run_sync(redis_sentinels.replicas[0].ask, "REPLICAOF", "NO", "ONE")
        with pytest.raises(TooFewReplicas):
            await intend(log, lease)


async def test_an_intent_waits_for_one_that_hangs_for_seconds_where_another_replica_has_it(
    redis_sentinels: Sentinels,
) -> None:
    async with opened(redis_sentinels.url) as log:
        lease = await leased(log)
        await eventually(lambda: log.redis.replicas_of(log.keys.log(0)) == 2, 30)
        hanging = redis_sentinels.replicas[0]
        hanging.freeze()
        began_s = anyio.current_time()
        with anyio.fail_after(30):
            await intend(log, lease)
        # Until the Sentinels call it down, or longer.
        assert anyio.current_time() - began_s > 1.0
        hanging.thaw()


async def test_none_is_waited_for_on_a_server_by_itself_nor_where_somebody_says_0(
    own_server: StartServer, redis_sentinels: Sentinels
) -> None:
    group = await replicated(own_server, 1)
    async with opened(group.url) as log:
        lease = await leased(log)
        group.freeze()
        log.retry_for_s = 0.0
        await intend(log, lease)
        group.thaw()
    async with opened(redis_sentinels.url, replicas=0) as log:
        lease = await leased(log)
        for replica in redis_sentinels.replicas:
            replica.freeze()
        log.retry_for_s = 0.0
        await intend(log, lease)


async def test_a_user_without_the_right_waits_for_none_and_is_told(
    redis_sentinels: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    for node in redis_sentinels.servers:
        node.ask("ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all", "-wait")
    url = redis_sentinels.url.replace("://", "://u:p@")
    with caplog.at_level(logging.WARNING, "everfold.access"):
        async with opened(url) as log:
            await intend(log, await leased(log))
    assert any("command=WAIT" in text for text in caplog.messages)
    with pytest.raises(ServerRefusesAccess, match="WAIT"):
        async with opened(url, replicas=1):
            pass


def test_a_minority_of_sentinels_does_not_make_a_replica_dead() -> None:
    here = Endpoint("a", 1)
    cut_off = Named(here, 3, sentinels=3, replicas=2, living=0)
    whole = Named(here, 3, sentinels=3, replicas=2, living=1)
    assert living_replicas([cut_off], of=3) == 2
    assert living_replicas([cut_off], of=1) == 2  # the address may name one of them
    assert living_replicas([cut_off, cut_off], of=3) == 0
    assert living_replicas([cut_off, whole], of=3) == 1
    newer = Named(Endpoint("b", 1), 4, sentinels=3, replicas=5, living=5)
    assert living_replicas([cut_off, newer, newer], of=3) == 5


def test_what_each_event_needs() -> None:
    assert NONE.needed("", True, 2) == 2
    assert NONE.needed("", True, 2, ALL_WITHIN_S) == 1
    assert NONE.needed("", True, 0) == 0
    assert NONE.needed("succeeded", False, 2) == 0
    assert NONE.asked(0).needed("", True, 2) == 0
    assert Replicas(2).needed("", True, 0) == 2
    assert Replicas(2).needed("", False, 2) == 0
    assert Replicas(2, events="all").needed("", False, 2) == 2
