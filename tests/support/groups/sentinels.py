"""A primary with replicas under the watch of Sentinels, as plain processes.

Rule: the Sentinels know each other and the replicas from their start, so that the service is whole
as soon as the replicas are in sync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_hex

from redis.exceptions import RedisError, ResponseError

from everfold.embedded.engines import Engine
from tests.support.groups.server_group import CHANGE_S, Node, ServerGroup, in_sync, until
from tests.support.wait import eventually_blocking

SERVICE = "everfold"


class SentinelNode(Node):
    """A Sentinel: its file is written by the test once, and by itself from then on."""

    def _arguments(self) -> Iterator[str]:
        yield from (str(self.folder / "sentinel.conf"), "--sentinel")


class Sentinels:
    """`servers` are the primary and its replicas, in the order in which they were made."""

    def __init__(self, group: ServerGroup, settings: dict[str, str]) -> None:
        self.group = group
        self.cut_off, self.cut_between, self.join = group.cut_off, group.cut_between, group.join
        self.servers: list[Node] = []
        self.sentinels: list[Node] = []
        self._settings = settings

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(map(str, self.sentinels))}/{SERVICE}/0"

    @property
    def primary(self) -> Node:
        """The primary, by the Sentinels that answer; AssertionError while they do not agree."""
        told = self._told()
        assert len(told) == 1, f"the sentinels say {told}"
        return self.group.node(told.pop())

    @property
    def replicas(self) -> list[Node]:
        """The servers that answer and are not the primary."""
        primary = self.primary
        return [node for node in self.servers if node.is_asked and node is not primary]

    def is_ok(self) -> bool:
        """Say whether all Sentinels that answer agree on one primary, which takes writes."""
        told = self._told()
        return len(told) == 1 and self.group.node(told.pop()).is_primary

    def is_in_sync(self) -> bool:
        """Say whether every replica that answers has what the primary has."""
        return all(in_sync(node, self.primary) for node in self.replicas)

    def is_settled(self) -> bool:
        """Say whether it is ok, in sync, and each Sentinel could fail over again."""
        if not (self.is_ok() and self.is_in_sync()):
            return False
        return all(self._is_calm(sentinel) for sentinel in self._answering())

    async def until_settled(self, within_s: float = CHANGE_S) -> None:
        await until(self.is_settled, within_s)

    async def until_switched(self, old: Node, within_s: float = CHANGE_S) -> None:
        """Wait until all Sentinels that answer name another primary, which takes writes."""
        await until(lambda: self.is_ok() and self.primary is not old, within_s)

    async def failover(self) -> None:
        """Plan a failover (SENTINEL FAILOVER), which asks no one, and wait for its end."""
        await self._fail_over()

    def can_coordinate(self) -> bool:
        """Say whether the engine's Sentinel has a failover that loses nothing."""
        try:
            self._answering()[0].ask("SENTINEL", "FAILOVER", "nobody", "COORDINATED")
        except ResponseError as refused:
            return "No such master" in str(refused)
        return True

    async def coordinated(self) -> None:
        """SENTINEL FAILOVER COORDINATED: the primary stops writes until the replica has them."""
        await self._fail_over("COORDINATED")

    async def add_replica(self) -> Node:
        """Start one more replica, and wait until it is in sync."""
        replica = self._replica(self.primary)
        replica.start()
        await until(lambda: in_sync(replica, self.primary))
        return replica

    async def remove(self, replica: Node) -> None:
        """End a replica and let the Sentinels forget it, one after the other."""
        replica.close()
        self.servers.remove(replica)
        self.group.nodes.remove(replica)
        for sentinel in self._answering():
            sentinel.ask("SENTINEL", "RESET", SERVICE)
        await self.until_settled()

    def build(self, replicas: int, sentinels: int, down_after_s: float) -> None:
        """Start all of them."""
        primary = self.group.made(self._settings)
        self.servers.append(primary)
        primary.launch()
        for _ in range(replicas):
            self._replica(primary).launch()
        self.sentinels = [self.group.made({}, kind=SentinelNode) for _ in range(sentinels)]
        ids = [token_hex(20) for _ in self.sentinels]
        for number, sentinel in enumerate(self.sentinels):
            others = [(n, i) for n, i in zip(self.sentinels, ids, strict=True) if n is not sentinel]
            text = _configuration(self.servers, sentinel, ids[number], others, down_after_s)
            (sentinel.folder / "sentinel.conf").write_text(text)
            sentinel.launch()
        for node in self.group.nodes:
            node.until_answering()
        eventually_blocking(self.is_settled, CHANGE_S)

    async def _fail_over(self, *how: str) -> None:
        old = self.primary
        await until(lambda: self._begins_failover(how))
        await self.until_switched(old)

    def _begins_failover(self, how: tuple[str, ...]) -> bool:
        """Say whether it has begun: a Sentinel that has just met the replicas finds none fit."""
        try:
            self._answering()[0].ask("SENTINEL", "FAILOVER", SERVICE, *how)
        except ResponseError as refused:
            if "NOGOODSLAVE" in str(refused):
                return False
            raise
        return True

    def _replica(self, primary: Node) -> Node:
        host, port = primary.place.host, primary.place.port
        replica = self.group.made({"replicaof": f"{host} {port}", **self._settings})
        self.servers.append(replica)
        return replica

    def _answering(self) -> list[Node]:
        return [node for node in self.sentinels if node.is_asked]

    def _told(self) -> set[str]:
        told = set[str]()
        for sentinel in self._answering():
            try:
                place = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
            except RedisError:
                continue
            if isinstance(place, list):
                told.add(":".join(part.decode() for part in place))
        return told

    def _is_calm(self, sentinel: Node) -> bool:
        told = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        assert isinstance(told, list)
        about = dict(zip(told[::2], told[1::2], strict=True))
        others, slaves = int(about[b"num-other-sentinels"]), int(about[b"num-slaves"])
        is_whole = others >= len(self.sentinels) - 1 and slaves >= len(self.servers) - 1
        return is_whole and about[b"flags"] == b"master"


def _configuration(
    servers: list[Node],
    sentinel: Node,
    its_id: str,
    others: list[tuple[Node, str]],
    down_after_s: float,
) -> str:
    primary, *replicas = servers
    lines = [
        f"port {sentinel.place.port}",
        f"bind {sentinel.place.host}",
        "protected-mode no",
        f"dir {sentinel.folder}",
        f"sentinel myid {its_id}",
        f"sentinel monitor {SERVICE} {_at(primary)} {len(others) // 2 + 1}",
        f"sentinel down-after-milliseconds {SERVICE} {int(down_after_s * 1000)}",
        f"sentinel failover-timeout {SERVICE} 10000",
        f"sentinel parallel-syncs {SERVICE} {len(servers)}",
    ]
    lines += [f"sentinel known-replica {SERVICE} {_at(node)}" for node in replicas]
    lines += [f"sentinel known-sentinel {SERVICE} {_at(node)} {its}" for node, its in others]
    return "\n".join(lines) + "\n"


def _at(node: Node) -> str:
    return f"{node.place.host} {node.place.port}"


@contextmanager
def sentinels(
    engine: Engine,
    replicas: int = 2,
    sentinels: int = 3,
    *,
    down_after_s: float = 2.0,
    network: bool = False,
    **settings: str,
) -> Iterator[Sentinels]:
    """Start a service; it is ok and in sync when it is given.

    A primary is taken for dead after about `down_after_s`. `settings` are redis.conf settings of
    the servers, with _ for -. With `network` each node has a machine of its own.
    """
    named = {name.replace("_", "-"): value for name, value in settings.items()}
    group = ServerGroup(engine, network=network)
    made = Sentinels(group, named)
    try:
        made.build(replicas, sentinels, down_after_s)
        yield made
    finally:
        group.close()


StartSentinels = Callable[..., Sentinels]
"""What the `own_sentinels` fixture gives: own_sentinels(replicas=2, sentinels=3, **settings)."""
