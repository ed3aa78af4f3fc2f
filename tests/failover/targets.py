"""What a fault is done to: a server by itself, a Sentinel service, or a cluster.

Rule: a fault is over when the target is whole again, with as many replicas as before; clients go on
all the time. Each fault is a method, and its docstring says what operators call it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio
from anyio.to_thread import run_sync
from redis.crc import key_slot

from everfold.embedded.engines import Engine
from tests.support.groups import networks
from tests.support.groups.cluster import Cluster, cluster
from tests.support.groups.sentinels import Sentinels, sentinels
from tests.support.groups.server_group import Node
from tests.support.servers import OwnServer, own_server

FROZEN_S = 4.0
"""Longer than a primary may be silent: another one has taken its place when it goes on."""
CUT_S = 5.0

Fault = Callable[[], Awaitable[None]]


class OneServer:
    """A server by itself: it comes back with what its disk has."""

    def __init__(self, server: OwnServer) -> None:
        self.server = server
        self.url = server.url
        self.faults: dict[str, Fault] = {"kill": self.kill, "freeze": self.freeze}

    async def kill(self) -> None:
        """`kill -9`, and started again."""
        await run_sync(self.server.kill)
        await anyio.sleep(1.0)
        await run_sync(self.server.start)

    async def freeze(self) -> None:
        """SIGSTOP, and SIGCONT 4 s later."""
        self.server.pause()
        await anyio.sleep(FROZEN_S)
        self.server.resume()


class SentinelService:
    """A primary, its replicas and three Sentinels."""

    def __init__(self, service: Sentinels, has_network: bool) -> None:
        self.service = service
        self.url = service.url
        self.faults: dict[str, Fault] = {
            "kill": self.kill,
            "freeze": self.freeze,
            "planned": self.planned,
        }
        if service.can_coordinate():
            self.faults["coordinated"] = self.coordinated
        if has_network:
            self.faults["partition"] = self.partition

    async def kill(self) -> None:
        """`kill -9` of the primary, which comes back as a replica."""
        old = self.service.primary
        await run_sync(old.kill)
        await self.service.until_switched(old)
        await run_sync(old.start)
        await self.service.until_settled()

    async def freeze(self) -> None:
        """SIGSTOP of the primary, and SIGCONT 4 s later, when another one has its place."""
        old = self.service.primary
        old.freeze()
        await anyio.sleep(FROZEN_S)
        old.thaw()
        await self.service.until_switched(old)
        await self.service.until_settled()

    async def planned(self) -> None:
        """SENTINEL FAILOVER."""
        await self.service.failover()
        await self.service.until_settled()

    async def coordinated(self) -> None:
        """SENTINEL FAILOVER COORDINATED."""
        await self.service.coordinated()
        await self.service.until_settled()

    async def partition(self) -> None:
        """The primary is cut from replicas and Sentinels for 5 s; clients reach all of them."""
        old = self.service.primary
        others = [node for node in self.service.group.nodes if node is not old]
        await run_sync(lambda: self.service.cut_between(old, *others))
        await anyio.sleep(CUT_S)
        await self.service.until_switched(old)
        await run_sync(self.service.join, old)
        await self.service.until_settled()


class ClusterTarget:
    """Three masters; whatever happens, happens to the one or the slot that chance names."""

    def __init__(self, group: Cluster, has_network: bool, chance: random.Random) -> None:
        self.cluster = group
        self.url = group.url
        self.keys: Sequence[str] = ()
        """A key of each partition: what may be moved."""
        self._chance = chance
        self.faults: dict[str, Fault] = {
            "kill": self.kill,
            "freeze": self.freeze,
            "planned": self.planned,
            "forced": self.forced,
            "move by keys": self.move_by_keys,
        }
        if group.can_move_at_once():
            self.faults["move at once"] = self.move_at_once
        if has_network:
            self.faults["partition"] = self.partition

    async def kill(self) -> None:
        """`kill -9` of a master, which comes back as a replica."""
        master, replica = await self._pair()
        await run_sync(master.kill)
        await self._until_replaced(master, replica)
        await run_sync(master.start)
        await self.cluster.until_settled()

    async def freeze(self) -> None:
        """SIGSTOP of a master, and SIGCONT 4 s later."""
        master, _ = await self._pair()
        master.freeze()
        await anyio.sleep(FROZEN_S)
        master.thaw()
        await self.cluster.until_settled()

    async def planned(self) -> None:
        """CLUSTER FAILOVER: the master stops writes until the replica has them all."""
        _, replica = await self._pair()
        await self.cluster.failover(replica)
        await self.cluster.until_settled()

    async def forced(self) -> None:
        """CLUSTER FAILOVER FORCE: the master is not asked."""
        _, replica = await self._pair()
        await self.cluster.failover(replica, "FORCE")
        await self.cluster.until_settled()

    async def partition(self) -> None:
        """A master is cut from all other nodes for 5 s; clients reach all of them."""
        master, _ = await self._pair()
        others = [node for node in self.cluster.nodes if node is not master]
        await run_sync(lambda: self.cluster.cut_between(master, *others))
        await anyio.sleep(CUT_S)
        await run_sync(self.cluster.join, master)
        await self.cluster.until_settled()

    async def move_by_keys(self) -> None:
        """The slot of a busy partition goes to another master, key by key."""
        slot, to = await run_sync(self._move)
        await self.cluster.move_slot_by_keys(slot, to)

    async def move_at_once(self) -> None:
        """The slot of a busy partition goes to another master in one step."""
        slot, to = await run_sync(self._move)
        await self.cluster.move_slot_at_once(slot, to)

    def _move(self) -> tuple[int, Node]:
        slot = key_slot(self._chance.choice(self.keys).encode())
        source = self.cluster.primary_of_slot(slot)
        others = [node for node in self.cluster.primaries() if node is not source]
        return slot, self._chance.choice(others)

    async def _pair(self) -> tuple[Node, Node]:
        """Return a master that has a partition, and one of its replicas."""

        def choose() -> tuple[Node, Node]:
            master = self.cluster.primary_of(self._chance.choice(self.keys))
            return master, self._chance.choice(self.cluster.replicas(master))

        return await run_sync(choose)

    async def _until_replaced(self, master: Node, replica: Node) -> None:
        siblings = await run_sync(self.cluster.replicas, master)
        if len(siblings) == 1:
            await self.cluster.until_primary(replica)
            return
        async with anyio.create_task_group() as first:

            async def wait(node: Node) -> None:
                await self.cluster.until_primary(node)
                first.cancel_scope.cancel()

            for node in siblings:
                first.start_soon(wait, node)


Target = OneServer | SentinelService | ClusterTarget

KINDS = ("one", "sentinel", "cluster")


@contextmanager
def target(
    kind: str, engine: Engine, chance: random.Random, *, replicas: int = 1, network: bool = False
) -> Iterator[Target]:
    """Start one of KINDS. A primary is taken for dead after 2 s."""
    network = network and networks.can_be_made()
    if kind == "sentinel":
        with sentinels(engine, max(2, replicas), 3, network=network) as service:
            yield SentinelService(service, network)
    elif kind == "cluster":
        with cluster(engine, 3, replicas, network=network) as group:
            yield ClusterTarget(group, network, chance)
    else:
        with own_server(engine, tcp=True, appendfsync="always") as server:
            yield OneServer(server)
