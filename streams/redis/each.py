"""Goes over partitions side by side, so that one that does not answer holds back no other.

Rule: each partition has an outcome or an error of its own, and what is asked of one node waits for
no other node. What is for people raises at the end, and says which partitions are missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, Protocol, TypeVar

import anyio
from msgspec import Struct

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import (
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
    """What each partition answered, or why it did not, both in the order of the partitions."""

    values: dict[int, T]
    errors: dict[int, EverfoldError]

    @property
    def failure(self) -> EverfoldError | None:
        """The one error that stands for all of them; None where all partitions answered.

        Where some answered it is PartitionsUnavailable, unless trying again would not help.
        """
        if not self.errors:
            return None
        first = next(iter(self.errors.values()))
        lasting = [one for one in self.errors.values() if not isinstance(one, Unavailable)]
        if lasting or not self.values:
            return lasting[0] if lasting else first
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
                missing |= self.errors.keys()
            return list(self.values.values())
        raise failure


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
    node_of = {partition: _node_of(log, partition) for partition in asked}
    values, errors = dict[int, T](), dict[int, EverfoldError]()
    broken, answered, limits = list[Exception](), anyio.Event(), NodeLimits(log, at_once)
    waits = {partition: anyio.CancelScope() for partition in asked}

    async def one(partition: int) -> None:
        try:
            with waits[partition]:
                async with limits.of(partition):
                    values[partition] = await act(partition)
                answered.set()
        except EverfoldError as error:
            errors[partition] = error
        except Exception as error:
            broken.append(error)
            tasks.cancel_scope.cancel()

    async def leave_silent_nodes() -> None:
        await answered.wait()
        await anyio.sleep(grace_s or 0.0)
        heard = {node_of[partition] for partition in (*values, *errors)}
        for partition in asked:
            if node_of[partition] not in heard:
                waits[partition].cancel()

    async with anyio.create_task_group() as watching:
        if grace_s is not None:
            watching.start_soon(leave_silent_nodes)
        async with anyio.create_task_group() as tasks:
            for partition in asked:
                tasks.start_soon(one, partition)
        watching.cancel_scope.cancel()
    if broken:
        raise broken[0]
    for partition in set(asked) - values.keys() - errors.keys():
        errors[partition] = ServerUnreachable(f"partition {partition} has not answered in time")
    return Outcomes(_ordered(values, asked), _ordered(errors, asked))


def _node_of(log: Partitioned, partition: int) -> str:
    return log.redis.node_of(log.keys.log(partition))


class NodeLimits:
    """How much is asked of each node at once: a node that is silent takes no other's turn."""

    def __init__(self, log: Partitioned, at_once: int) -> None:
        self._log, self._at_once = log, at_once
        self._by_node: dict[str, anyio.Semaphore] = {}

    def of(self, partition: int) -> anyio.Semaphore:
        """Return the limit of the node that has this partition now."""
        node = _node_of(self._log, partition)
        return self._by_node.setdefault(node, anyio.Semaphore(self._at_once))


def _ordered(found: dict[int, T], partitions: Iterable[int]) -> dict[int, T]:
    return {partition: found[partition] for partition in partitions if partition in found}
