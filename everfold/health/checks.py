"""What a process must be able to do to be ready, each as a question with a sentence as answer.

Rule: only what this process can do itself. A runner whose ComfyUI servers are away is ready: no
restart of it, and no other place for it, would bring them back. It says so as a note.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import anyio

from everfold.projector.reading.lag import lag
from everfold.streams.appending.log import Log
from everfold.streams.errors import NamespaceMadeAnew, NamespaceTooNew
from everfold.streams.leases.registry import LATELY_S, registered_runner, silence_s
from everfold.streams.redis.server import server_time_ms

Check = Callable[[], Awaitable[str]]

STUCK_S = 30.0
"""A partition that has events to fold, and folds none for so long, is stuck."""
BEHIND_S = 30.0


class RunnerState(Protocol):
    """What is asked of a runner."""

    @property
    def renews(self) -> bool:
        """Whether its leases are renewed."""
        ...


class ProjectorState(Protocol):
    """What is asked of a projector."""

    @property
    def partitions(self) -> list[int]:
        """Those that it folds now."""
        ...


def server_answers(log: Log) -> Check:
    """Redis answers, and the namespace is one that this program can work on."""

    async def check() -> str:
        try:
            await log.check_level()
        except (NamespaceTooNew, NamespaceMadeAnew) as error:
            return f"{type(error).__name__}: start this process again, with another version"
        return ""

    return check


def is_registered(log: Log, name: str) -> Check:
    """The runner's entry is fresh: others know that it lives."""

    async def check() -> str:
        entry = await registered_runner(log, name)
        silent_s = LATELY_S
        if entry is not None:
            silent_s = silence_s(entry.seen_ms, await server_time_ms(log.redis))
        if entry is None or silent_s > LATELY_S:
            return "its entry in the list of runners is missing or old: its heartbeat has stopped"
        return ""

    return check


def renews_leases(runner: RunnerState) -> Check:
    """The process that renews the leases lives."""

    async def check() -> str:
        return "" if runner.renews else "the process that renews its leases does not run"

    return check


def reaches_backends(log: Log, name: str) -> Check:
    """A note, and no reason not to be ready: no backend is reached."""

    async def check() -> str:
        entry = await registered_runner(log, name)
        return "" if entry is None or entry.reaches else "it reaches none of its ComfyUI servers"

    return check


class FoldsOn:
    """The projector's own partitions get on: none is stuck while it has events to fold."""

    def __init__(self, log: Log, projector: ProjectorState) -> None:
        self._log, self._projector = log, projector
        self._seen: dict[int, tuple[int, float]] = {}
        """Partition -> events folded, and when that number was first seen."""

    async def __call__(self) -> str:
        now_s, stuck = anyio.current_time(), list[int]()
        rows = {row.partition: row for row in await lag(self._log)}
        mine = [rows[partition] for partition in self._projector.partitions]
        for row in mine:
            folded, since_s = self._seen.get(row.partition, (-1, now_s))
            if folded != row.folded or row.lag_events == 0:
                self._seen[row.partition] = (row.folded, now_s)
            elif now_s - since_s > STUCK_S and row.lag_s > BEHIND_S:
                stuck.append(row.partition)
        for partition in self._seen.keys() - {row.partition for row in mine}:
            del self._seen[partition]
        return f"it folds no events of {_named(stuck)}" if stuck else ""


def _named(partitions: Sequence[int]) -> str:
    return f"partition {', '.join(map(str, partitions))}"
