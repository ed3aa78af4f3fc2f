"""Leases at several servers are renewed, whatever happens to one of these servers."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from everfold.runner.renewal import directory
from everfold.runner.renewal.messages import FromRenewer, Hold, Outcome, Round, Setup
from everfold.runner.renewal.renewer import Renewer
from everfold.runner.renewal.renewer_process import place_of
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.nodes.slots import slot_of
from everfold.streams.redis.scripts import RENEW_SOURCE
from tests.support.groups.cluster import Cluster
from tests.support.groups.sentinels import SERVICE, Sentinels, StartSentinels
from tests.support.groups.server_group import Node, until

pytestmark = [pytest.mark.anyio, pytest.mark.long]

EVERY_S = 0.3
TAGS = [f"{{t{number}}}" for number in range(12)]


class Renewing:
    """A Renewer, and when each of its leases was renewed."""

    def __init__(self, url: str, tags: list[str]) -> None:
        setup = Setup(
            place=place_of(url),
            runner="r1",
            runner_pid=1,
            connection_name="everfold:r1",
            script=RENEW_SOURCE,
            renew_every_s=EVERY_S,
            stuck_after_s=60.0,
            timeout_s=5.0,
        )
        self.over: list[Outcome] = []
        self.renewed_s: dict[str, list[float]] = defaultdict(list)
        self.told: list[FromRenewer] = []
        self.renewer = Renewer(setup, lambda: "", self._note)
        for tag in tags:
            self.renewer.hold(Hold(tag, 3, f"{tag}:dispatch", "5-1", f"{tag}:head"))
        threading.Thread(target=self.renewer.run, daemon=True).start()

    def end(self) -> None:
        for tag in TAGS:
            self.renewer.forget(tag, 3)

    def _note(self, message: FromRenewer) -> None:
        self.told.append(message)
        if isinstance(message, Round):
            self.over += message.over
            for outcome in message.renewed:
                self.renewed_s[outcome.job_id].append(steady_s())

    def longest_gap_s(self, tag: str, since_s: float) -> float:
        """Return for how long a lease was not renewed since then, up to now."""
        times = [since_s, *(at for at in self.renewed_s[tag] if at > since_s), steady_s()]
        return max(b - a for a, b in pairwise(times))

    async def until_renewed(self, tags: list[str], within_s: float = 30.0) -> None:
        since_s = steady_s()
        await until(
            lambda: all(self.renewed_s[tag] and self.renewed_s[tag][-1] > since_s for tag in tags),
            within_s,
        )


@contextmanager
def renewing_of(url: str, tags: list[str]) -> Iterator[Renewing]:
    made = Renewing(url, tags)
    try:
        yield made
    finally:
        made.end()


def lease(node: Node, tag: str) -> None:
    """Write a lease as claim.lua leaves it."""
    dispatch = f"{tag}:dispatch"
    node.ask("XGROUP", "CREATE", dispatch, "runners", "0", "MKSTREAM")
    node.ask("XADD", dispatch, "5-1", "job", tag)
    node.ask("XREADGROUP", "GROUP", "runners", "r1", "STREAMS", dispatch, ">")
    node.ask("HSET", f"{tag}:head", "epoch", 3, "phase", "leased", "owner", "r1")


def leases_of(cluster: Cluster) -> dict[str, Node]:
    for tag in TAGS:
        lease(cluster.primary_of(tag), tag)
    return {tag: cluster.primary_of(tag) for tag in TAGS}


async def test_a_frozen_master_costs_no_lease_of_another_one_its_time(
    redis_cluster: Cluster,
) -> None:
    at = leases_of(redis_cluster)
    await redis_cluster.until_settled()
    with renewing_of(redis_cluster.url, TAGS) as renewing:
        await renewing.until_renewed(TAGS)
        frozen = redis_cluster.primaries()[0]
        theirs = [tag for tag, node in at.items() if node is frozen]
        others = [tag for tag in TAGS if tag not in theirs]
        assert theirs, at
        (replica,) = redis_cluster.replicas(frozen)
        began_s = steady_s()
        frozen.freeze()
        try:
            await redis_cluster.until_primary(replica)
            await renewing.until_renewed(theirs)  # at its successor
            took_s = steady_s() - began_s
            longest_s = max(renewing.longest_gap_s(tag, began_s) for tag in others)
            assert longest_s < max(8 * EVERY_S, took_s / 2), took_s
        finally:
            frozen.thaw()
        await renewing.until_renewed(TAGS)


async def test_leases_are_renewed_where_their_slot_has_moved(redis_cluster: Cluster) -> None:
    at = leases_of(redis_cluster)
    await redis_cluster.until_settled()
    with renewing_of(redis_cluster.url, TAGS) as renewing:
        await renewing.until_renewed(TAGS)
        tag = TAGS[0]
        target = next(one for one in redis_cluster.primaries() if one is not at[tag])
        began_s = steady_s()
        await redis_cluster.move_slot_by_keys(slot_of(tag), target)
        await renewing.until_renewed(TAGS)
        assert renewing.longest_gap_s(tag, began_s) < 10.0


@pytest.mark.parametrize("how", ["killed", "frozen", "planned"])
async def test_leases_are_renewed_at_the_successor_of_a_primary(
    redis_sentinels: Sentinels, how: str
) -> None:
    primary = redis_sentinels.primary
    lease(primary, TAGS[0])
    await redis_sentinels.until_settled()
    with renewing_of(redis_sentinels.url, TAGS[:1]) as renewing:
        await renewing.until_renewed(TAGS[:1])
        if how == "killed":
            primary.kill()
        elif how == "frozen":
            primary.freeze()
        else:
            await redis_sentinels.failover()
        await until(lambda: redis_sentinels.primary is not primary, 30)
        await renewing.until_renewed(TAGS[:1])
        if how == "frozen":
            primary.thaw()


async def test_a_lease_is_kept_that_a_former_primary_has_never_heard_of(
    own_sentinels: StartSentinels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "LOOK_EVERY_S", 60.0)  # as right after a look
    service = own_sentinels(0, 1)
    former, (sentinel,) = service.primary, service.sentinels
    successor = service.group.made({})
    successor.start()
    lease(former, TAGS[0])
    with renewing_of(service.url, TAGS[:1]) as renewing:
        await renewing.until_renewed(TAGS[:1])
        sentinel.ask("SENTINEL", "REMOVE", SERVICE)
        place = (successor.place.host, successor.place.port)
        sentinel.ask("SENTINEL", "MONITOR", SERVICE, *place, 1)
        lease(successor, TAGS[1])
        renewing.renewer.hold(Hold(TAGS[1], 3, f"{TAGS[1]}:dispatch", "5-1", f"{TAGS[1]}:head"))
        await renewing.until_renewed(TAGS[1:2])
        assert TAGS[1] not in [one.job_id for one in renewing.over]

        # What the primary itself does not know is over.
        await until(lambda: [one.job_id for one in renewing.over] == [TAGS[0]], 20.0)
        assert renewing.over[0].current_epoch == -1
