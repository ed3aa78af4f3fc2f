"""Two nodes made of one server: some partitions are reached through a proxy that can fail, the rest
directly.

Rule: what is asked of both nodes at once is split, as a router does it. Keys without a partition
are at the node that does not fail, unless HOME is among the partitions behind the proxy.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from everfold.streams.appending import log as log_module
from everfold.streams.appending.log import Log
from everfold.streams.connections.change import ChangeCount
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.redis.namespace import OpenedNamespace
from everfold.streams.redis.server import connect
from tests.support.trouble.fault_proxy import FaultProxy

_TAG = re.compile(rb"\{[^}]*:(\d+)(?:\.\d+)?\}")
"""In either layout."""

HOME = -1
"""Stands for the namespace's own keys."""


class SplitRedis(LedgerRedis):
    """A client of both nodes; `behind` are the partitions that lie behind the proxy now."""

    def __init__(
        self, direct: PipeliningRedis, proxied: PipeliningRedis, behind: Collection[int]
    ) -> None:
        super().__init__(connection_pool=direct.connection_pool)
        self._direct, self._proxied, self.behind = direct, proxied, behind
        self.owner, self.changes = direct.owner, ChangeCount()

    def _of(self, words: Iterable[Argument]) -> PipeliningRedis:
        for word in words:
            raw = word if isinstance(word, bytes) else str(word).encode()
            if found := _TAG.match(raw):
                return self._proxied if int(found[1]) in self.behind else self._direct
        return self._proxied if HOME in self.behind else self._direct

    async def execute_command(
        self, *arguments: Argument, reply_bytes: int = 0, **_: object
    ) -> object:
        return await self._of(arguments).execute_command(*arguments, reply_bytes=reply_bytes)

    async def execute_all(
        self, commands: Iterable[Sequence[Argument]], reply_bytes: Sequence[int] = ()
    ) -> list[object]:
        answers = [self._of(words).execute_command(*words) for words in commands]
        found = await asyncio.gather(*answers, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return list(found)

    async def execute_together(self, *commands: Sequence[Argument]) -> list[object]:
        return await self._of(commands[0]).execute_together(*commands)

    def at(self, key: str) -> PipeliningRedis:
        return self._of([key])

    def node_of(self, key: str) -> str:
        return "proxied" if self._of([key]) is self._proxied else "direct"

    def primaries(self) -> list[PipeliningRedis]:
        return [self._direct, self._proxied]

    def blocking(self, key: str, *, name: str, block_s: float) -> Redis:
        return self._of([key]).blocking(key, name=name, block_s=block_s)

    def connections_opened(self) -> int:
        return sum(one.connections_opened() for one in self.primaries())

    def shows_names(self) -> bool:
        return self._direct.shows_names()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        for one in self.primaries():
            await one.aclose(close_connection_pool)


@asynccontextmanager
async def split_log(
    url: str,
    proxy: FaultProxy,
    namespace: str,
    *,
    partitions: int,
    behind: Collection[int],
    actor: str = "split",
    timeout_s: float = 5.0,
    spread: bool | None = None,
) -> AsyncIterator[Log]:
    """Open a log whose partitions `behind` lie behind the proxy."""
    name = f"everfold:{actor}"
    nodes = [connect(at, name=name, timeout_s=timeout_s) for at in (url, proxy.url)]
    redis = SplitRedis(nodes[0], nodes[1], behind)
    try:
        spread = log_module.chosen_layout(redis, spread)  # type: ignore[attr-defined]  # patched there
        opened = await OpenedNamespace.open(redis, namespace, partitions, True, spread)
        yield Log(url, redis, opened, actor)
    finally:
        await redis.aclose()
