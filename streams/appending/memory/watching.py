"""Looks about once a second whether a server is still the one that acknowledged what is remembered.

Rule: a process that remembers nothing sends nothing. All is looked for after each change of a
server, after each new connection, and every LOOK_EVERY_S whatever was seen. One server's trouble is
that server's, and nothing ends the watch but its log. Only a look that succeeds lets writes be
forgotten: none gets old while its server is away.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from everfold.streams.appending.memory.memory import Memory
from everfold.streams.appending.memory.put_back import PutBack
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError, NamespaceMadeAnew

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log

logger = get_logger("everfold.memory")

ASK_EVERY_S = 1.0

JOBS_A_LINE = 40

LOOK_EVERY_S = 10.0
"""Where a proxy stands in front and the server refuses INFO, nothing else shows a change."""


class _Looked(Struct):
    """When, and in what state, everything at one server was looked for."""

    state: tuple[str, int, int] = ("", -1, -1)
    at_s: float = 0.0


class MemoryWatch:
    """Runs while something is remembered; begun by the first write, ended with its context."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.memory = Memory()
        self.put_back = PutBack(log, self.memory)
        self._task: asyncio.Task[None] | None = None
        self._looked: dict[str, _Looked] = {}
        self._answers_since_s: dict[int, float] = {}
        """Partition -> when the first look succeeded after which none has failed."""
        self._away = set[int]()
        """Partitions of which the last look has failed."""
        self._dropped = 0
        """How many writes had been dropped by the last look."""
        self.memory.on_first = self._begin

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def __aenter__(self) -> Log:
        return self._log

    async def __aexit__(self, *_: object) -> None:
        """End it; what is remembered is forgotten."""
        self.memory.on_first = lambda: None
        if self._task is not None:
            await end_all([self._task])
        self.memory.clear()

    async def _run(self) -> None:
        try:
            while True:
                await asyncio.sleep(ASK_EVERY_S)
                self.memory.show()
                if not (self.memory or self.put_back.listed.is_behind):
                    return
                await self._look_at_all()
                with suppress(EverfoldError):  # it is tried again
                    await self.put_back.listed.write()
        finally:
            self._task = None

    async def _look_at_all(self) -> None:
        nodes = self._nodes()
        placed = set[int]().union(*nodes.values())
        for partition in self._answers_since_s.keys() - placed:
            del self._answers_since_s[partition]
        await asyncio.gather(*(self._look_at(*each) for each in nodes.items()))
        self._name_dropped()

    def _name_dropped(self) -> None:
        """Say what the memory had no room for, and of which jobs, where their server is away: what
        that has lost of them will not come back from here."""
        count, self._dropped = self.memory.dropped - self._dropped, self.memory.dropped
        if count and self._away:
            logger.error("memory_full_in_outage acknowledged_writes_dropped=%s", count)
        of = self._log.keys.partition_of
        at_risk = self.memory.take_dropped_jobs(lambda job_id: of(job_id) in self._away)
        for start in range(0, len(at_risk), JOBS_A_LINE):
            named = ",".join(at_risk[start : start + JOBS_A_LINE])
            logger.error("memory_full_in_outage jobs=%s", named)

    def _nodes(self) -> dict[str, set[int]]:
        """Return node -> the partitions there of which something is remembered. Where one server
        has all, they are not looked for: that takes long, and is seldom due."""
        keys, redis, nodes = self._log.keys, self._log.redis, dict[str, set[int]]()
        every = range(keys.partitions)
        for partition in (
            every if redis.is_one_server else self.memory.partitions(keys.partition_of)
        ):
            try:
                node = redis.node_of(keys.log(partition))
            except EverfoldError:
                node = ""  # nobody has it now
            nodes.setdefault(node, set()).add(partition)
        return nodes

    async def _look_at(self, node: str, partitions: set[int]) -> None:
        try:
            await self._look_if_due(node, partitions)
            self._away -= partitions
            return
        except NamespaceMadeAnew as error:
            logger.error("nothing_put_back why=%r", str(error))
            self.memory.clear()
        except EverfoldError as error:
            logger.warning("memory_not_compared node=%s why=%r", node, str(error))
        except Exception:
            logger.exception("memory_broken node=%s", node)
        self._away |= partitions
        for partition in partitions:
            self._answers_since_s.pop(partition, None)

    async def _look_if_due(self, node: str, partitions: set[int]) -> None:
        log, looked = self._log, self._looked.setdefault(node, _Looked())
        first = min(partitions)
        redis = log.redis.at(log.keys.log(first))
        mark = await log.servers.mark(first)
        state = (mark, redis.connections_opened(), log.redis.version)
        if state == looked.state and time.monotonic() - looked.at_s < LOOK_EVERY_S:
            return
        every, began_s = self.memory.partitions(log.keys.partition_of), steady_s()
        seen = {p: every[p] for p in sorted(partitions & every.keys())}
        await self.put_back.look(seen)
        for partition in partitions:
            since_s = self._answers_since_s.setdefault(partition, began_s)
            self.memory.forget_old(seen.get(partition, ()), since_s, began_s)
        looked.state, looked.at_s = state, time.monotonic()
