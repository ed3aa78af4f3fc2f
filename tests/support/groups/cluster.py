"""A Redis Cluster of plain processes, and everything that can happen to one.

Rule: nodes are told what to do by redis-py, without a command line client. What takes its time is
awaited, so that clients in the same event loop go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anyio.to_thread import run_sync
from msgspec import Struct
from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError

from everfold.embedded.engines import Engine
from tests.support.groups.server_group import CHANGE_S, Node, ServerGroup, fields, in_sync, until
from tests.support.wait import eventually_blocking

SLOTS = 16384


class Member(Struct, frozen=True):
    """A line of CLUSTER NODES."""

    node_id: str
    name: str
    """host:port"""
    flags: frozenset[str]
    primary_id: str
    """Empty for a primary."""
    is_linked: bool
    slots: tuple[range, ...]

    def has(self, slot: int) -> bool:
        return any(slot in part for part in self.slots)


class Cluster:
    """`nodes` are all nodes, the first `masters` of which began as masters."""

    def __init__(self, group: ServerGroup, settings: dict[str, str]) -> None:
        self.group = group
        self.cut_off, self.cut_between, self.join = group.cut_off, group.cut_between, group.join
        self._settings = settings

    @property
    def nodes(self) -> list[Node]:
        return self.group.nodes

    @property
    def url(self) -> str:
        """Names all nodes that there are now."""
        return f"redis+cluster://{','.join(map(str, self.nodes))}"

    def primaries(self) -> list[Node]:
        """Return the masters that have slots, in the order of their slots."""
        having = [m for m in self._members() if m.slots and "master" in m.flags]
        return [self.group.node(m.name) for m in sorted(having, key=lambda m: m.slots[0].start)]

    def replicas(self, of: Node) -> list[Node]:
        """Return the replicas of a master."""
        primary_id = self._member(of).node_id
        replicas = [m for m in self._members() if m.primary_id == primary_id]
        return [self.group.node(m.name) for m in replicas if "fail" not in m.flags]

    def primary_of(self, key: str) -> Node:
        """Return the master that has this key."""
        return self.primary_of_slot(key_slot(key.encode()))

    def primary_of_slot(self, slot: int) -> Node:
        member = next(m for m in self._members() if m.has(slot))
        return self.group.node(member.name)

    def is_ok(self) -> bool:
        """Say whether all nodes that answer serve all slots and agree on who does what."""
        try:
            told = [fields(node.text("CLUSTER", "INFO")) for node in self.group.asked]
            maps = {self._roles(members(node)) for node in self.group.asked}
        except RedisError:
            return False
        is_whole = all(
            (one["cluster_state"], one["cluster_slots_ok"]) == ("ok", str(SLOTS)) for one in told
        )
        return is_whole and len(maps) == 1

    def is_in_sync(self) -> bool:
        """Say whether every replica that answers has what its master has."""
        for member in self._members():
            if member.primary_id and (replica := self.group.node(member.name)).is_asked:
                primary = next(m for m in self._members() if m.node_id == member.primary_id)
                if not in_sync(replica, self.group.node(primary.name)):
                    return False
        return True

    def is_settled(self) -> bool:
        """Say whether it is ok and in sync."""
        return self.is_ok() and self.is_in_sync()

    async def until_settled(self, within_s: float = CHANGE_S) -> None:
        await until(self.is_settled, within_s)

    async def failover(self, replica: Node, how: str = "") -> None:
        """Make a replica the master, and wait until all know it.

        Without `how` its master stops writes until the replica has them all; FORCE and TAKEOVER
        do not ask it.
        """
        replica.ask("CLUSTER", "FAILOVER", *([how] if how else []))
        await self.until_primary(replica)

    async def until_primary(self, node: Node, within_s: float = CHANGE_S) -> None:
        """Wait until all nodes that answer take this one for a master with slots."""

        def is_primary() -> bool:
            mine = [_named(members(one), str(node)) for one in self.group.asked]
            return all("master" in m.flags and m.slots for m in mine)

        await until(is_primary, within_s)

    async def move_slot_by_keys(self, slot: int, to: Node, keys_at_once: int = 10) -> None:
        """Move a slot as every engine can: its keys one after the other, while clients go on."""
        await run_sync(self._move_by_keys, slot, to, keys_at_once)
        await until(lambda: self._has_slot(to, slot))

    def can_move_at_once(self) -> bool:
        """Say whether the engine moves slots with all their keys in one step."""
        return _moving_at_once(self.nodes[0]) != ""

    async def move_slot_at_once(self, slot: int, to: Node) -> None:
        """Move a slot with all its keys in one step; see `can_move_at_once`."""
        source = self.primary_of_slot(slot)
        if _moving_at_once(to) == "migration":
            to.ask("CLUSTER", "MIGRATION", "IMPORT", slot, slot)
        else:
            target = self._member(to).node_id
            source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target)
        await until(lambda: self._has_slot(to, slot))

    async def add_replica(self, of: Node) -> Node:
        """Start one more replica of a master, and wait until it is in sync."""
        replica = self.group.made(self._settings)
        replica.start()
        self._introduce(replica)
        await until(lambda: str(of) in {m.name for m in _linked(replica)})
        replica.ask("CLUSTER", "REPLICATE", self._member(of).node_id)
        await until(lambda: in_sync(replica, of) and self.is_ok())
        return replica

    async def remove(self, node: Node) -> None:
        """End a node without slots and let all others forget it."""
        node_id = self._member(node).node_id
        node.close()
        self.nodes.remove(node)
        for other in self.group.asked:
            other.ask("CLUSTER", "FORGET", node_id)
        await until(self.is_ok)

    def build(self, masters: int, replicas: int) -> None:
        """Start the nodes and make a cluster of them."""
        for _ in range(masters * (1 + replicas)):
            self.group.made(self._settings).launch()
        for number, node in enumerate(self.nodes):
            node.until_answering()
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(self.nodes[:masters]):
            first, after = SLOTS * number // masters, SLOTS * (number + 1) // masters
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for node in self.nodes[1:]:
            self._introduce(node)
        count = len(self.nodes)
        known = lambda: all(len(_linked(node)) == count for node in self.nodes)  # noqa: E731
        eventually_blocking(known, CHANGE_S)
        for number, node in enumerate(self.nodes[masters:]):
            of = self._member(self.nodes[number % masters])
            node.ask("CLUSTER", "REPLICATE", of.node_id)
        eventually_blocking(self.is_settled, CHANGE_S)

    def _introduce(self, node: Node) -> None:
        place = node.place
        first = self.group.asked[0]
        first.ask("CLUSTER", "MEET", place.host, place.port, place.bus_port)

    def _members(self) -> list[Member]:
        """Return the view of the first node that answers and is not cut from the others."""
        views = [members(node) for node in self.group.asked]
        return max(views, key=lambda view: sum(m.is_linked for m in view))

    def _member(self, node: Node) -> Member:
        return _named(self._members(), str(node))

    def _roles(self, view: list[Member]) -> frozenset[tuple[str, str, tuple[range, ...]]]:
        asked = {str(node) for node in self.group.asked}
        return frozenset((m.name, m.primary_id, m.slots) for m in view if m.name in asked)

    def _has_slot(self, node: Node, slot: int) -> bool:
        return all(_named(members(one), str(node)).has(slot) for one in self.group.asked)

    def _move_by_keys(self, slot: int, to: Node, keys_at_once: int) -> None:
        source = self.primary_of_slot(slot)
        source_id, to_id = self._member(source).node_id, self._member(to).node_id
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to_id)
        place = to.place
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, keys_at_once):
            assert isinstance(keys, list)
            source.ask("MIGRATE", place.host, place.port, "", 0, 5000, "KEYS", *keys)
        others = [node for node in self.primaries() if node not in (source, to)]
        for node in (to, source, *others):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", to_id)


def members(node: Node) -> list[Member]:
    """Return what a node says of its cluster."""
    return [_parsed(line) for line in node.text("CLUSTER", "NODES").splitlines()]


def _parsed(line: str) -> Member:
    node_id, place, flags, primary_id, _, _, _, link, *slots = line.split(" ")
    pairs = (part.split("-") for part in slots if not part.startswith("["))
    return Member(
        node_id=node_id,
        name=place.partition("@")[0],
        flags=frozenset(flags.split(",")),
        primary_id=primary_id.strip("-"),
        is_linked="myself" in flags or link == "connected",
        slots=tuple(range(int(pair[0]), int(pair[-1]) + 1) for pair in pairs),
    )


def _named(view: list[Member], name: str) -> Member:
    unknown = Member("", name, frozenset(), "", False, ())
    return next((m for m in view if m.name == name), unknown)


def _linked(node: Node) -> list[Member]:
    return [m for m in members(node) if m.is_linked and "handshake" not in m.flags]


def _moving_at_once(node: Node) -> str:
    """Return the command of CLUSTER that moves slots at once; empty where there is none."""
    for name, tried in (("migration", "STATUS ALL"), ("getslotmigrations", "")):
        try:
            node.ask("CLUSTER", name, *tried.split())
        except ResponseError:
            continue
        return name
    return ""


@contextmanager
def cluster(
    engine: Engine,
    masters: int = 3,
    replicas: int = 1,
    *,
    node_timeout_s: float = 2.0,
    network: bool = False,
    **settings: str,
) -> Iterator[Cluster]:
    """Start a cluster with `replicas` of each master; it is ok and in sync when it is given.

    A master is taken for dead after about `node_timeout_s`. `settings` are redis.conf settings with
    _ for -. With `network` each node has a machine of its own, as `networks` says.
    """
    named = {name.replace("_", "-"): value for name, value in settings.items()}
    group = ServerGroup(engine, network=network)
    made = Cluster(
        group,
        {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(int(node_timeout_s * 1000)),
            "cluster-allow-replica-migration": "no",
            **named,
        },
    )
    try:
        made.build(masters, replicas)
        yield made
    finally:
        group.close()


StartCluster = Callable[..., Cluster]
"""What the `own_cluster` fixture gives: own_cluster(masters=3, replicas=1, **settings)."""
