"""Checks a graph at submit against what the servers of the namespace have.

Rule: what is read is a few seconds old at most, and read anew before anybody is refused. Where no
server is known, or one may run the graph, nothing is refused. Trouble with reading refuses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence

from everfold.runner.capabilities.capability_store import stored_capabilities
from everfold.runner.capabilities.fits import Server
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.runner.capabilities.objections import Objection, Passed, judge
from everfold.streams.appending.body import needs_in
from everfold.streams.appending.log import Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError, NoServerCanRun
from everfold.streams.events.needs import Needs
from everfold.streams.events.workflow_check import CheckedWorkflow
from everfold.streams.leases.backends import BackendEntry, backend_entries, retired_backends
from everfold.streams.leases.registry import silence_s
from everfold.streams.redis.hints import send_hint
from everfold.streams.redis.server import server_time_ms

READ_EVERY_S = 5.0
PRESENT_S = 60.0
"""A server that a runner has seen within this time is there now."""
AWAY_S = 3600.0
"""One that was seen within this time may come back, and run what it could run."""


class SubmitCheck:
    """What one client knows of the servers. Call `close` at the end."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._servers: list[Server] = []
        self._infos: dict[str, ObjectInfo] = {}
        self._read_at_s = -READ_EVERY_S
        self._reading: asyncio.Task[None] | None = None

    async def check(
        self,
        graph: CheckedWorkflow,
        labels: Collection[str],
        *,
        may_wait: bool,
        is_known: Callable[[], Awaitable[bool]],
        targets: Sequence[object] | None = None,
    ) -> dict[str, dict[str, object]]:
        """Raise NoServerCanRun where no server would run the graph, unless the job exists already.

        Returns what every server would leave out of it, as `node_errors` of ComfyUI. With
        `may_wait` something that is missing is no reason: the job waits for a server that has it.
        `is_known` says whether an earlier submit has made the job. Of `targets`, where given, only
        those that are outputs are run.
        """
        await self._read_if_due()
        needs = needs_in(graph, labels, targets)
        found = self._judged(graph.json, needs, targets, may_wait=may_wait)
        if isinstance(found, Passed):
            return found.node_errors
        await self._read()
        found = self._judged(graph.json, needs, targets, may_wait=may_wait)
        if isinstance(found, Passed):
            return found.node_errors
        if not await is_known():
            # What was installed since they looked is there for the next try.
            await send_hint(self._log.redis, self._log.keys.wake(), "look")
            raise NoServerCanRun(found.why, found.node_errors, found.error)
        return {}

    def _judged(
        self, workflow: bytes, needs: Needs, targets: Sequence[object] | None, *, may_wait: bool
    ) -> Objection | Passed:
        found = judge(workflow, needs, self._servers, targets)
        is_no_reason = isinstance(found, Objection) and found.is_missing and may_wait
        return Passed() if is_no_reason else found

    async def _read_if_due(self) -> None:
        if steady_s() - self._read_at_s < READ_EVERY_S:
            return
        if self._read_at_s < 0:
            await self._read()
        elif self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        self._read_at_s = steady_s()
        try:
            entries, retired = await backend_entries(self._log), await retired_backends(self._log)
            now_ms = await server_time_ms(self._log.redis)
            serving = [
                entry
                for entry in entries
                if entry.is_configured and not {entry.name, entry.server} & retired.keys()
            ]
            await self._read_infos({entry.object_info for entry in serving} - {""})
        except EverfoldError:
            return  # the submit itself meets the same, and says so
        self._servers = self._known(serving, now_ms)

    async def _read_infos(self, hashes: set[str]) -> None:
        found = {one: self._infos.get(one) for one in hashes}
        for one, info in found.items():
            found[one] = info or await stored_capabilities(self._log, one)
        self._infos = {one: info for one, info in found.items() if info is not None}

    def _known(self, entries: list[BackendEntry], now_ms: int) -> list[Server]:
        if not any(_seen_within(entry, PRESENT_S, now_ms) for entry in entries):
            return []
        return [
            Server(entry.shown, self._infos.get(entry.object_info), frozenset(entry.labels))
            for entry in entries
            if _seen_within(entry, AWAY_S, now_ms)
        ]

    async def close(self) -> None:
        """End the reading that may be under way."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading


def _seen_within(entry: BackendEntry, seconds: float, now_ms: int) -> bool:
    return silence_s(entry.seen_ms, now_ms) <= seconds
