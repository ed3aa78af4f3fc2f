"""Commits of several partitions that are ready at the same moment, written by one call.

Rule: what becomes of one partition's commit is told to who asked for it, and stops no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

from msgspec import Struct

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs_commit import Part, commit_jobs
from everfold.projector.folding.projection import Gap, Outcome
from everfold.streams.appending.log import Log
from everfold.streams.connections.pipelining import resolve

CHANGES_LIMIT = 1000
"""States of one call, unless one partition alone has more: few enough for other clients."""


class _Pending(Struct, eq=False):
    part: Part
    outcome: asyncio.Future[Outcome | Gap]


class JobsCommits:
    """Writes the commits of the partitions of one log. Everybody waits for the outcome of theirs,
    so nothing is under way when nobody does."""

    def __init__(self, log: Log, config: ProjectorConfig) -> None:
        self.log, self._config = log, config
        self._pending = list[_Pending]()
        self._writing = set[asyncio.Task[None]]()

    async def write(self, part: Part) -> Outcome | Gap:
        """Write one partition's part: all or nothing; see `commit_jobs`."""
        future: asyncio.Future[Outcome | Gap] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(part, future))
        if len(self._pending) == 1:
            # It runs when all have folded that have read at the same moment.
            self._start(self._write_all())
        return await future

    def _start(self, writing: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(writing)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_all(self) -> None:
        pending, self._pending = self._pending, []
        calls = self._calls(pending)
        for call in calls[1:]:
            self._start(self._write(call))
        await self._write(calls[0])

    def _calls(self, pending: Sequence[_Pending]) -> list[list[_Pending]]:
        """Return what each call writes: on a cluster one partition, which it has for itself."""
        calls, changes, is_one_server = list[list[_Pending]](), 0, self.log.redis.is_one_server
        for one in pending:
            changes += len(one.part.batch.changes)
            if not calls or not is_one_server or changes > CHANGES_LIMIT:
                calls.append([])
                changes = len(one.part.batch.changes)
            calls[-1].append(one)
        return calls

    async def _write(self, pending: Sequence[_Pending]) -> None:
        outcomes: Sequence[Outcome | Gap | Exception]
        try:
            outcomes = await commit_jobs(self.log, self._config, [one.part for one in pending])
        except Exception as error:  # whatever it is, nobody may be left waiting
            outcomes = [error] * len(pending)
        for one, outcome in zip(pending, outcomes, strict=True):
            resolve(one.outcome, outcome)
