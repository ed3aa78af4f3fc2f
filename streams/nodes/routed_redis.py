"""The client of a cluster: each command goes to the primary that has its key.

Rule: a node that says MOVED or ASK is believed, five times at most for one command. What fails is
raised, and the caller repeats it; meanwhile it is asked anew who has which slot.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

import redis.exceptions as theirs
from redis.asyncio import Redis

from everfold.streams.connections.change import ChangeCount
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.connections.owner import Owner
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.errors import ServerUnreachable
from everfold.streams.nodes.address import Address
from everfold.streams.nodes.cluster_nodes import ClusterNodes, NodeRedis
from everfold.streams.nodes.endpoint import Endpoint
from everfold.streams.nodes.first_key import first_key
from everfold.streams.nodes.pools import pool_of
from everfold.streams.nodes.slots import slot_of

REDIRECTS = 5
ASKING = ("ASKING",)

Command = Sequence[Argument]


class RoutedRedis(LedgerRedis):
    """Made in the event loop to which it belongs. `at`, `node_of` and `blocking` need `ready`."""

    knows_replicas = True

    def __init__(self, address: Address, name: str, timeout_s: float) -> None:
        # No pool of its own: each node's client has one.
        self.owner, self.changes = Owner(), ChangeCount()
        self._address, self._name, self._timeout_s = address, name, timeout_s
        seeds = address.endpoints or (Endpoint("localhost", 6379),)
        self._nodes = ClusterNodes(seeds, self._client, self.changes)

    def __repr__(self) -> str:
        return f"<RoutedRedis({self._address.shown!r})>"

    async def ready(self) -> None:
        """Return once it is known who has which slot. Raises redis-py's errors, or Unavailable."""
        await self._nodes.ready()

    async def execute_command(
        self, *arguments: Argument, reply_bytes: int = 0, **_: object
    ) -> object:
        await self._pass()
        await self.ready()
        node = self._node(arguments)
        try:
            return await node.enqueue(arguments, reply_bytes)
        except theirs.ResponseError as error:
            answer = await self._follow(error, node, arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def execute_all(
        self, commands: Iterable[Command], reply_bytes: Sequence[int] = ()
    ) -> list[object]:
        await self._pass()
        answers = await self._outcomes(list(commands), reply_bytes)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def execute_together(self, *commands: Command) -> list[object]:
        """As `LedgerRedis` says; all keys must be of one slot. Where the slot is on its way to
        another node, all of the commands may be sent again there."""
        await self._pass()
        await self.ready()
        keys = [key for key in map(first_key, commands) if key is not None]
        if len({slot_of(key) for key in keys}) > 1:
            raise ValueError("commands of several slots cannot be sent together")
        node, asks = self._nodes.of(slot_of(keys[0] if keys else self.home)), False
        for _ in range(REDIRECTS):
            answers = await (_together_asking if asks else NodeRedis.together)(node, commands)
            each = (
                self._nodes.redirect(one, node) for one in answers if isinstance(one, Exception)
            )
            found = next((one for one in each if one is not None), None)
            if found is None:
                break
            node, asks = self._nodes.client(found.to), not found.is_moved
        return answers

    def at(self, key: str) -> PipeliningRedis:
        return self._nodes.of(slot_of(key))

    def node_of(self, key: str) -> str:
        return self.at(key).name

    def primaries(self) -> list[PipeliningRedis]:
        return list(self._nodes.primaries())

    def replicas_of(self, key: str) -> int:
        return self._nodes.replicas_of(slot_of(key))

    def blocking(self, key: str, *, name: str, block_s: float) -> Redis:
        return self.at(key).blocking(key, name=name, block_s=block_s)

    def connections_opened(self) -> int:
        return self._nodes.opened()

    def shows_names(self) -> bool:
        return all(one.shows_names() for one in self._nodes.primaries())

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self._nodes.aclose()

    def _client(self, to: Endpoint) -> NodeRedis:
        pool = pool_of(self._address.server_url(to), self._name, self._timeout_s, None)
        made = NodeRedis(pool, self._timeout_s, str(to), self.changes)
        made.gate = self._pass
        return made

    async def _pass(self) -> None:
        self.owner.loop()
        if self.gate is not None:
            await self.gate()

    def _node(self, command: Command) -> NodeRedis:
        key = first_key(command)
        return self._nodes.of(slot_of(self.home if key is None else key))

    async def _outcomes(
        self, commands: Sequence[Command], reply_bytes: Sequence[int]
    ) -> list[object]:
        """Return an answer or an error for each command, in their order."""
        await self.ready()
        found: list[object] = [None] * len(commands)
        groups: dict[NodeRedis, list[tuple[int, Command, int]]] = defaultdict(list)
        for index, command in enumerate(commands):
            size = reply_bytes[index] if index < len(reply_bytes) else 0
            try:
                groups[self._node(command)].append((index, command, size))
            except ServerUnreachable as error:
                found[index] = error
        await asyncio.gather(*(self._ask(node, group, found) for node, group in groups.items()))
        return found

    async def _ask(
        self, node: NodeRedis, group: list[tuple[int, Command, int]], found: list[object]
    ) -> None:
        """Fill in the answers of one node, or of those to which it sends."""
        sizes = [size for _, _, size in group]
        answers = await node.outcomes([command for _, command, _ in group], sizes)
        following = []
        for (index, command, _), answer in zip(group, answers, strict=True):
            found[index] = answer
            if isinstance(answer, theirs.ResponseError) and self._nodes.redirect(answer, node):
                following.append((index, self._follow(answer, node, command)))
        outcomes = await asyncio.gather(*(one for _, one in following))
        for (index, _), outcome in zip(following, outcomes, strict=True):
            found[index] = outcome

    async def _follow(self, answer: object, node: NodeRedis, command: Command) -> object:
        """Send a command to where nodes say that it belongs; return the last answer or error."""
        for _ in range(REDIRECTS):
            found = self._nodes.redirect(answer, node) if isinstance(answer, Exception) else None
            if found is None:
                break
            node = self._nodes.client(found.to)
            try:
                if found.is_moved:
                    return await node.enqueue(command)
                (answer,) = await _together_asking(node, [command])
            except (theirs.RedisError, OSError) as error:
                answer = error
        return answer


async def _together_asking(node: NodeRedis, commands: Sequence[Command]) -> list[object]:
    """Send commands to a node that is about to get their slot."""
    sent = [part for command in commands for part in (ASKING, command)]
    return (await node.together(sent))[1::2]
