"""Goes over partitions side by side, so that one that does not answer holds back no other.

Rule: each partition has an outcome or an error of its own, and what is asked of one node waits for
no other node. What is for people raises at the end, and says which partitions are missing. Where
one server has all partitions one call may ask for many, because a call costs more than what it asks
of one; what is wrong with a partition is then asked for again by partition.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Generic, Protocol, TypeVar

import anyio
from msgspec import Struct

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import (
    OUTAGES,
    ArchiveUnavailable,
    AssetsUnavailable,
    EverfoldError,
    PartitionsUnavailable,
    ServerUnreachable,
    Unavailable,
)
from everfold.streams.redis.keys import Keyspace

T = TypeVar("T")

AT_ONCE = 16
"""Partitions of one node that are asked at once."""


class Partitioned(Protocol):
    """A namespace on a server, such as a Log."""

    @property
    def keys(self) -> Keyspace: ...

    @property
    def redis(self) -> LedgerRedis: ...


class Outcomes(Struct, Generic[T], frozen=True):
    """What each partition answered, or why it did not, both in order of their numbers."""

    values: dict[int, T]
    errors: dict[int, EverfoldError]

    @property
    def failure(self) -> EverfoldError | None:
        """The one error that stands for all of them; None where all partitions answered.

        Where some answered it is PartitionsUnavailable, also where a node lets nobody in; unless
        what a partition has is wrong, or a store of files is away and not a partition.
        """
        if not self.errors:
            return None
        first = next(iter(self.errors.values()))
        others = [one for one in self.errors.values() if not _is_of_server(one)]
        if others or not self.values:
            return others[0] if others else first
        return PartitionsUnavailable(tuple(self.errors), str(first))

    def all(self) -> list[T]:
        """Return what all partitions answered. Raises `failure`."""
        if (failure := self.failure) is not None:
            raise failure
        return list(self.values.values())

    def some(self, missing: set[int] | None) -> list[T]:
        """Return what there is, and add the partitions that do not answer to `missing`.

        Raises `failure` without such a set, where nobody answers, and where trying again would not
        help.
        """
        failure = self.failure
        if failure is None or (missing is not None and isinstance(failure, PartitionsUnavailable)):
            if missing is not None:
                missing.update(self.errors)
            return list(self.values.values())
        raise failure


def _is_of_server(error: EverfoldError) -> bool:
    of_store = (ArchiveUnavailable, AssetsUnavailable)
    return isinstance(error, OUTAGES) and not isinstance(error, of_store)


GRACE_S = 2.0
"""How long what answers to people waits for a node that is silent while others answer."""


async def each(
    log: Partitioned,
    act: Callable[[int], Awaitable[T]],
    partitions: Iterable[int] | None = None,
    *,
    at_once: int = AT_ONCE,
    grace_s: float | None = None,
) -> Outcomes[T]:
    """Await `act` for each partition (of `partitions`), `at_once` of them per node.

    With `grace_s`, a node that is silent for so much longer than the first one that answered is
    waited for no longer: its partitions count as unreachable. Raises no EverfoldError; any other
    error of one ends all.
    """
    asked = list(range(log.keys.partitions) if partitions is None else partitions)
    if len(asked) == 1 and grace_s is None:
        return await _one(act, asked[0])
    asking = _Asking(log, act, asked, at_once, may_leave=grace_s is not None)
    async with anyio.create_task_group() as watching:
        if grace_s is not None:
            watching.start_soon(asking.leave_silent_nodes, grace_s)
        async with anyio.create_task_group() as tasks:
            for partition in asked:
                tasks.start_soon(asking.one, partition, tasks.cancel_scope)
        watching.cancel_scope.cancel()
    if asking.broken:
        raise asking.broken[0]
    return asking.outcomes()


async def _one(act: Callable[[int], Awaitable[T]], partition: int) -> Outcomes[T]:
    try:
        return Outcomes({partition: await act(partition)}, {})
    except EverfoldError as error:
        return Outcomes({}, {partition: error})


ActTogether = Callable[[Sequence[int]], Awaitable[Mapping[int, T]]]
"""Acts in some partitions of one server, all or none; returns what each answered."""


async def each_together(
    log: Partitioned, act: ActTogether[T], partitions: Iterable[int]
) -> Outcomes[T]:
    """Await `act` for all these partitions at once, or for each by itself. Raises no
    EverfoldError."""
    asked = sorted(partitions)
    if asked and log.redis.is_one_server:
        outcomes = await acted_together(act, asked)
        if outcomes is not None:
            return outcomes
    return await each(log, alone(act), asked)


async def acted_together(act: ActTogether[T], partitions: Sequence[int]) -> Outcomes[T] | None:
    """Act in all of these at once; None where something is wrong with one, nobody knows which."""
    try:
        return Outcomes(dict(await act(partitions)), {})
    except EverfoldError as error:
        if len(partitions) > 1 and not isinstance(error, Unavailable):
            return None
        return Outcomes({}, dict.fromkeys(partitions, error))


def alone(act: ActTogether[T]) -> Callable[[int], Awaitable[T]]:
    """Return the act of a single partition."""

    async def act_alone(partition: int) -> T:
        return (await act((partition,)))[partition]

    return act_alone


class _Asking(Generic[T]):
    """One call of `each`."""

    def __init__(
        self,
        log: Partitioned,
        act: Callable[[int], Awaitable[T]],
        asked: list[int],
        at_once: int,
        *,
        may_leave: bool,
    ) -> None:
        self._act, self._asked = act, asked
        left = asked if may_leave else ()
        self._node_of = {partition: _node_of(log, partition) for partition in left}
        self._limits = NodeLimits(log, at_once)
        self._waits = {partition: anyio.CancelScope() for partition in left}
        self._answered = anyio.Event()
        self._values: dict[int, T] = {}
        self._errors: dict[int, EverfoldError] = {}
        self.broken: list[Exception] = []

    async def one(self, partition: int, all_of_them: anyio.CancelScope) -> None:
        try:
            with self._waits.get(partition) or nullcontext():
                async with self._limits.of(partition):
                    self._values[partition] = await self._act(partition)
                self._answered.set()
        except EverfoldError as error:
            self._errors[partition] = error
        except Exception as error:
            self.broken.append(error)
            all_of_them.cancel()

    async def leave_silent_nodes(self, grace_s: float) -> None:
        await self._answered.wait()
        await anyio.sleep(grace_s)
        heard = {self._node_of[partition] for partition in (*self._values, *self._errors)}
        for partition in self._asked:
            if self._node_of[partition] not in heard:
                self._waits[partition].cancel()

    def outcomes(self) -> Outcomes[T]:
        for partition in set(self._asked) - self._values.keys() - self._errors.keys():
            late = f"partition {partition} has not answered in time"
            self._errors[partition] = ServerUnreachable(late)
        return Outcomes(dict(sorted(self._values.items())), dict(sorted(self._errors.items())))


def _node_of(log: Partitioned, partition: int) -> str:
    """Return the node of a partition, empty while none is known."""
    try:
        return log.redis.node_of(log.keys.log(partition))
    except EverfoldError:
        return ""


class NodeLimits:
    """How much is asked of each node at once: a node that is silent takes no other's turn."""

    def __init__(self, log: Partitioned, at_once: int) -> None:
        self._log, self._at_once = log, at_once
        self._by_node: dict[str, anyio.Semaphore] = {}

    def of(self, partition: int) -> anyio.Semaphore:
        """Return the limit of the node that has this partition now."""
        node = _node_of(self._log, partition)
        if node not in self._by_node:
            self._by_node[node] = anyio.Semaphore(self._at_once, fast_acquire=True)
        return self._by_node[node]
