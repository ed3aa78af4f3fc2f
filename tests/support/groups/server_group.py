"""Servers that belong together, as plain processes: what clusters and Sentinel services share.

Rule: whoever is killed, frozen or cut off by a test is not asked by the group's own looks. Nothing
is left of a group, not even when the test that has it is killed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from anyio.to_thread import run_sync
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from everfold.embedded.engines import Engine
from tests.support.groups.networks import Network
from tests.support.places import Place, Ports
from tests.support.servers import OwnServer
from tests.support.trouble.last_will import LastWill
from tests.support.wait import eventually

ANSWER_WITHIN_S = 2.0
CHANGE_S = 30.0
"""How long a change of a group may take before a test calls it a failure."""

Argument = str | int


class Node(OwnServer):
    """A server of a group. Its data and its place outlive `kill`, `stop` and `restart`."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        place: Place,
        settings: dict[str, str],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(engine, folder, True, None, settings)
        self.place = place
        self.is_reachable = True
        """Whether it answers, as far as the test itself did not freeze it or cut it off."""
        self._address = (place.host, str(place.port))
        self._before = place.before
        self._changed = changed

    def __str__(self) -> str:
        """Return host:port, which is its name everywhere."""
        return str(self.place)

    @property
    def is_asked(self) -> bool:
        """Whether the test may expect an answer from it."""
        return self.runs and self.is_reachable

    def launch(self) -> None:
        super().launch()
        self.is_reachable = True
        self._changed()

    def freeze(self) -> None:
        """Stop it with SIGSTOP: connections stay open, and the kernel still takes what is sent."""
        self.is_reachable = False
        self.pause()

    def thaw(self) -> None:
        """Let it go on where it was, with what it was sent meanwhile."""
        self.resume()
        self.is_reachable = True

    def ask(self, *command: Argument) -> object:
        """Send one command by a connection of its own and return the raw answer."""
        with self._client() as redis:
            return redis.execute_command(*command)

    def text(self, *command: Argument) -> str:
        """As `ask`, for an answer that is a text."""
        return cast("bytes", self.ask(*command)).decode()

    def info(self, section: str = "replication") -> dict[str, str]:
        """Return the fields of a section of INFO."""
        with self._client() as redis:
            return {name: str(value) for name, value in redis.info(section).items()}

    @property
    def is_primary(self) -> bool:
        """Whether it takes itself for a primary now; False when it does not answer."""
        try:
            return self.info()["role"] == "master"
        except RedisError:
            return False

    def _client(self) -> Redis:
        host, port = self.place.host, self.place.port
        return Redis(
            *(host, port),
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )


def fields(text: str) -> dict[str, str]:
    """Return what lines of name:value say."""
    lines = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in lines}


def in_sync(replica: Node, primary: Node) -> bool:
    """Say whether a replica has everything that its primary had when this was called."""
    try:
        offset = int(primary.info()["master_repl_offset"])
        told = replica.info()
        is_linked = told.get("master_link_status") == "up"
        is_its_own = f"{told.get('master_host')}:{told.get('master_port')}" == str(primary)
        return is_linked and is_its_own and int(told["slave_repl_offset"]) >= offset
    except RedisError:
        return False


async def until(condition: Callable[[], bool], within_s: float = CHANGE_S) -> None:
    """Wait for a condition that may ask servers which are just about to end or to change."""

    def asked() -> bool:
        try:
            return condition()
        except (RedisError, AssertionError):
            return False

    async def apart() -> bool:
        return await run_sync(asked)

    await eventually(apart, within_s)


class ServerGroup:
    """Makes nodes, each with a place and a folder of its own, and removes them all.

    With `network`, each has a machine of its own, which `cut_off` and `cut_between` need.
    """

    def __init__(self, engine: Engine, *, network: bool = False) -> None:
        self.engine = engine
        self.nodes: list[Node] = []
        self._folder = Path(tempfile.mkdtemp(prefix="everfold-group-"))
        self._will = LastWill()
        self._ports = Ports()
        self._network = Network() if network else None

    def made(self, settings: dict[str, str], kind: type[Node] = Node) -> Node:
        """Make a node that does not run yet."""
        place = (self._network or self._ports).place()
        folder = self._folder / str(place.port) / place.host
        folder.mkdir(parents=True)
        if "cluster-enabled" in settings:
            settings = {"cluster-port": str(place.bus_port), **settings}
        whole = {"protected-mode": "no", "repl-diskless-sync-delay": "0", **settings}
        node = kind(self.engine, folder, place, whole, self._say_will)
        self.nodes.append(node)
        self._say_will()
        return node

    @property
    def asked(self) -> list[Node]:
        """The nodes that answer, as far as the test did not see to the contrary."""
        return [node for node in self.nodes if node.is_asked]

    def node(self, name: str) -> Node:
        """Return the node with this host:port."""
        return next(node for node in self.nodes if str(node) == name)

    def cut_off(self, node: Node) -> None:
        """Let nothing reach this node: a partition that no connection hears of."""
        assert self._network is not None, "made without a network"
        node.is_reachable = False
        self._network.cut_off(node.place)

    def cut_between(self, node: Node, *others: Node) -> None:
        """Let nothing pass between a node and others; clients still reach all of them."""
        assert self._network is not None, "made without a network"
        for other in others:
            self._network.cut_between(node.place, other.place)

    def join(self, node: Node) -> None:
        """End the partition of a node."""
        assert self._network is not None, "made without a network"
        self._network.join(node.place)
        node.is_reachable = True

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        if self._network is not None:
            self._network.close()
        self._will.say(":")
        self._will.close()
        self._ports.close()
        shutil.rmtree(self._folder)

    def _say_will(self) -> None:
        commands = [f"kill -9 {node.pid}" for node in self.nodes if node.runs]
        if self._network is not None:
            commands.append(self._network.undoing())
        self._will.say("; ".join([*commands, f"rm -rf '{self._folder}'"]))
