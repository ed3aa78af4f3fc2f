"""Acts in all partitions, again and again: one that does not answer delays no other one's next act.

Rule: an act is never cut off, so that what it has begun it may end. While it is under way its
partition is left out of further rounds, and a round waits only for those that answered before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio

from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.each import (
    AT_ONCE,
    ActTogether,
    NodeLimits,
    Outcomes,
    Partitioned,
    acted_together,
    alone,
)

T = TypeVar("T")

GRACE_S = 1.0
"""A round waits for so long, and for twice as long as acts have taken lately."""


class Rounds:
    """Rounds of acts, in a context: leaving it cancels what is under way."""

    def __init__(self, log: Partitioned, *, at_once: int = AT_ONCE) -> None:
        self._log = log
        self._limits = NodeLimits(log, at_once)
        self._tasks = anyio.create_task_group()
        self._under_way = set[int]()
        self._failing = set[int]()
        """Partitions whose last act failed, or did not end within its round."""
        self._errors: dict[int, EverfoldError] = {}
        """Errors that no round has told yet."""
        self._usual_s = 0.0

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(kind, error, trace)

    @property
    def under_way(self) -> AbstractSet[int]:
        """The partitions in which an act has begun and not ended."""
        return frozenset(self._under_way)

    async def go(
        self, act: Callable[[int], Awaitable[T]], partitions: Iterable[int] | None = None
    ) -> Outcomes[T]:
        """Act once in each partition (of `partitions`) in which no act is under way.

        What ends later than the round is in neither of the outcomes; its error comes with the next
        round's. Raises no EverfoldError.
        """
        every = self._log.keys.partitions
        begun = set(range(every) if partitions is None else partitions) - self._under_way
        awaited = begun if len(self._failing) == every else begun - self._failing
        this = _Round[T](awaited)
        for partition in sorted(begun):
            self._under_way.add(partition)
            self._tasks.start_soon(self._one, act, partition, this)
        with anyio.move_on_after(GRACE_S + 2 * self._usual_s):
            await this.over.wait()
        self._failing |= begun & self._under_way
        errors, self._errors = self._errors, {}
        return Outcomes(dict(sorted(this.values.items())), dict(sorted(errors.items())))

    async def together(
        self, act: ActTogether[T], partitions: Iterable[int] | None = None
    ) -> Outcomes[T]:
        """As `go`, but where one server has all partitions, those that answered before are acted in
        at once: then nothing of them ends later than the round."""
        every = range(self._log.keys.partitions)
        asked = set(every if partitions is None else partitions)
        if not self._log.redis.is_one_server:
            return await self.go(alone(act), asked)
        found = await self.go(alone(act), failing) if (failing := asked & self._failing) else None
        begun = sorted(asked - failing - self._under_way)
        self._under_way.update(begun)
        try:
            outcomes = await acted_together(act, begun) if begun else Outcomes[T]({}, {})
        finally:
            self._under_way.difference_update(begun)
        if outcomes is None:
            outcomes = await self.go(alone(act), begun)
        if found is None:
            return outcomes
        values, errors = outcomes.values | found.values, outcomes.errors | found.errors
        return Outcomes(dict(sorted(values.items())), dict(sorted(errors.items())))

    async def _one(
        self, act: Callable[[int], Awaitable[T]], partition: int, this: _Round[T]
    ) -> None:
        began_s = steady_s()
        try:
            async with self._limits.of(partition):
                this.values[partition] = await act(partition)
            self._failing.discard(partition)
            self._usual_s = max(steady_s() - began_s, 0.9 * self._usual_s)
        except EverfoldError as error:
            self._failing.add(partition)
            self._errors[partition] = error
        finally:
            self._under_way.discard(partition)
            this.note_end(partition)


class _Round(Generic[T]):
    """One round: what its acts returned, and whether all partitions that it waits for ended."""

    def __init__(self, awaited: Iterable[int]) -> None:
        self._awaited = set(awaited)
        self.values: dict[int, T] = {}
        self.over = anyio.Event()
        self.note_end(None)

    def note_end(self, partition: int | None) -> None:
        self._awaited -= {partition}
        if not self._awaited:
            self.over.set()
