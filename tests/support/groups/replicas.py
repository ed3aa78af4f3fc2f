"""A primary with replicas of its own, for tests of what replicas have."""

from __future__ import annotations

from typing import cast

from tests.support.servers import OwnServer, StartServer, client
from tests.support.wait import eventually


class Replicated:
    """A primary and its replicas, each a process of its own."""

    def __init__(self, primary: OwnServer, replicas: list[OwnServer]) -> None:
        self.primary, self.replicas = primary, replicas

    @property
    def url(self) -> str:
        return self.primary.url

    def freeze(self, *chosen: int) -> None:
        """Freeze these replicas, without any all of them."""
        for one in chosen or range(len(self.replicas)):
            self.replicas[one].pause()

    def thaw(self, *chosen: int) -> None:
        for one in chosen or range(len(self.replicas)):
            self.replicas[one].resume()

    def offset(self, server: OwnServer) -> int:
        """Return how much of the stream of writes a server has."""
        with client(server.url) as redis:
            said = cast("dict[str, object]", redis.info("replication"))
        name = "slave_repl_offset" if said["role"] == "slave" else "master_repl_offset"
        return cast("int", said[name])

    def promote(self, chosen: int) -> OwnServer:
        """Make a replica the primary, as Sentinel would, and have the others follow it."""
        promoted = self.replicas.pop(chosen)
        with client(promoted.url) as redis:
            redis.replicaof("NO", "ONE")
        for other in self.replicas:
            follow(other, promoted)
        self.primary = promoted
        return promoted


def follow(replica: OwnServer, primary: OwnServer) -> None:
    """Make a server the replica of another one."""
    host, port = primary.url.removeprefix("redis://").removesuffix("/0").split(":")
    with client(replica.url) as redis:
        redis.replicaof(host, port)


async def replicated(own_server: StartServer, count: int) -> Replicated:
    """Start a primary with so many replicas, and wait until they are in step."""
    settings = {"tcp": True, "appendonly": "no", "repl_diskless_sync_delay": "0"}
    servers = [own_server(**settings) for _ in range(count + 1)]
    group = Replicated(servers[0], servers[1:])
    for one in group.replicas:
        follow(one, group.primary)

    def in_step() -> bool:
        with client(group.url) as redis:
            redis.set("in step?", 1)
            return bool(redis.wait(count, 1000) == count)

    await eventually(in_step, 20)
    return group
