"""The partitions assigned to one process: it works on each of them while it has the lease.

Rule: any number of processes may run. A new one gets its fair share; those of one that stops or
dies go to the others. Two that work on one partition do no harm: the scripts refuse one of them.
"""

from __future__ import annotations

import contextlib
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence

import anyio
import anyio.abc
from anyio import TASK_STATUS_IGNORED

from everfold.projector.assignment.fair_share import candidates, fair_share, surplus
from everfold.projector.assignment.member import Acquired, Member
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import (
    OUTAGES,
    ClientClosed,
    ClientShared,
    EverfoldError,
    NamespaceMadeAnew,
    NamespaceTooNew,
)
from everfold.streams.reading.node_tasks import reading_groups
from everfold.streams.redis.each import AT_ONCE, GRACE_S, each
from everfold.streams.redis.retry import Backoff

logger = get_logger("everfold.projector")

RELEASE_WITHIN_S = 2.0
"""Longest time to release a lease; after that it runs out by itself."""

PAGE = 256
"""Leases of one call."""


class PartitionLeaseLost(Exception):
    """Another process has the partition's lease; its writes count, those of this one do not."""


class Assignment:
    """Calls `work` for each assigned partition, and cancels it when the lease is lost or released.

    `partitions` is the number of all partitions; `lease_key` returns the key of the hash in which a
    partition's lease is stored. `work` may raise PartitionLeaseLost.
    """

    def __init__(
        self,
        member: Member,
        partitions: int,
        lease_key: Callable[[int], str],
        work: Callable[[int], Awaitable[None]],
        renew_every_s: float,
    ) -> None:
        self._member, self._all = member, partitions
        self._lease_key, self._work = lease_key, work
        self._renew_every_s = renew_every_s
        self._working: dict[int, anyio.CancelScope] = {}
        self._start = zlib.crc32(member.token.encode())
        self._tasks: anyio.abc.TaskGroup | None = None
        self._leasing: defaultdict[int, anyio.Lock] = defaultdict(
            lambda: anyio.Lock(fast_acquire=True)
        )
        """Of each partition: no renewal may overtake a release."""
        self._releasing: set[int] = set()
        self._is_ending = False
        self._ended = anyio.Event()
        """Work on a partition has come to its end."""

    @property
    def partitions(self) -> list[int]:
        """The partitions that this process works on now."""
        running = self._working.items()
        return sorted(partition for partition, scope in running if not scope.cancel_called)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Work until cancelled; waits whatever the server answers. Raises NamespaceTooNew,
        NamespaceMadeAnew, and ClientClosed and ClientShared for a log that is nobody's to use here.

        Reports itself started after the first attempt to get its share. At the end it releases all
        leases, within RELEASE_WITHIN_S each; what cannot be cancelled keeps its lease to its end.
        """
        try:
            async with anyio.create_task_group() as self._tasks:
                try:
                    await self._balance_for_ever(task_status)
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._finish()
        finally:
            with _shielded():
                await self._member.leave()

    async def _balance_for_ever(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        backoff, started, said = Backoff(), False, ""
        while True:
            try:
                await self._balance()
                backoff.reset()
                said = ""
                if not started:
                    task_status.started()
                    started = True
                await anyio.sleep(self._renew_every_s)
            except (NamespaceTooNew, NamespaceMadeAnew, ClientClosed, ClientShared):
                raise
            except EverfoldError as error:
                if said != str(error):
                    logger.warning("assignment_waits why=%r", str(error))
                said = str(error)
                await anyio.sleep(min(backoff.next_s(), self._renew_every_s))

    async def _finish(self) -> None:
        """Stop all work, and renew the leases of what still has to come to its end."""
        self._is_ending = True
        for partition in list(self._working):
            self._stop(partition)
        while self._working:
            await self._in_groups(self._acquire, sorted(set(self._working) - self._releasing))
            with anyio.move_on_after(self._renew_every_s):
                await self._ended.wait()
            self._ended = anyio.Event()

    async def _balance(self) -> None:
        """Renew each lease whatever becomes of the others, then get or give up what is fair."""
        renewed = await self._in_groups(self._renew, sorted(self._working))
        live = await self._member.heartbeat()
        for partition in surplus(self.partitions, self._all, live):
            self._stop(partition)

        async def start(group: Sequence[int]) -> None:
            free = [partition for partition in group if partition not in self._working]
            await self._start_working(free, fair_share(self._all, live) - len(self._working))

        wanted = candidates(self.partitions, self._all, live, self._start)
        started = await self._in_groups(start, wanted, at_once=1)
        if (failure := renewed or started) is not None:
            raise failure

    async def _in_groups(
        self,
        act: Callable[[Sequence[int]], Awaitable[object]],
        partitions: Sequence[int],
        *,
        at_once: int = AT_ONCE,
    ) -> EverfoldError | None:
        """Act on the partitions, those of one server together; return why some have failed.

        Where a group fails for another reason than its server, each of it is tried by itself.
        """
        log = self._member.log
        pages = [g[at : at + PAGE] for g in reading_groups(log, partitions) for at in _starts(g)]
        first_of = {page[0]: page for page in pages}

        async def try_page(first: int) -> None:
            page = first_of[first]
            try:
                await act(page)
            except OUTAGES:
                raise
            except EverfoldError:
                if len(page) == 1:
                    raise
                alone = await each(log, lambda partition: act([partition]), page, at_once=at_once)
                if (failure := alone.failure) is not None:
                    raise failure from None

        return (await each(log, try_page, first_of, at_once=at_once, grace_s=GRACE_S)).failure

    async def _renew(self, group: Sequence[int]) -> None:
        """Renew the leases, also of work that still has to stop."""
        for partition, acquired in (await self._acquire(group)).items():
            if acquired is None or acquired.is_new:
                self._stop(partition)  # and start it again, if it can be acquired

    async def _acquire(
        self, group: Sequence[int], most: int | None = None
    ) -> dict[int, Acquired | None]:
        async with contextlib.AsyncExitStack() as held:
            for partition in group:
                await held.enter_async_context(self._leasing[partition])
            gone = {p for p in group if self._is_ending and p not in self._working}
            asked = [p for p in group if p not in self._releasing and p not in gone]
            keys = [self._lease_key(partition) for partition in asked]
            found = await self._member.acquire_all(keys, len(asked) if most is None else most)
            return dict.fromkeys(group) | dict(zip(asked, found, strict=True))

    def _stop(self, partition: int) -> None:
        if partition in self._working:
            self._working[partition].cancel()

    async def _start_working(self, group: Sequence[int], most: int) -> None:
        if most <= 0 or self._tasks is None:
            return
        for partition, acquired in (await self._acquire(group, most)).items():
            if acquired is not None:
                self._working[partition] = anyio.CancelScope()
                self._tasks.start_soon(self._work_on, partition)

    async def _work_on(self, partition: int) -> None:
        try:
            with self._working[partition]:
                await self._work(partition)
        except PartitionLeaseLost as lost:
            logger.info("partition_lost partition=%s owner=%s", partition, lost)
        except Exception:
            # Another process may do better; where there is none, this one tries again.
            logger.exception("partition_broken partition=%s", partition)
            await self._release(partition)
            await anyio.sleep(self._renew_every_s)
        finally:
            await self._release(partition)
            del self._working[partition]
            self._releasing.discard(partition)
            self._ended.set()

    async def _release(self, partition: int) -> None:
        """Release the lease; its reader is closed by now, so no more entries become pending."""
        self._working[partition].cancel()
        self._releasing.add(partition)
        with _shielded():
            async with self._leasing[partition]:
                pass  # a renewal that is under way is answered first
            await self._member.release(self._lease_key(partition))


def _starts(group: Sequence[int]) -> range:
    return range(0, len(group), PAGE)


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Let a last command finish although this task is cancelled; ignore that it fails."""
    with anyio.move_on_after(RELEASE_WITHIN_S, shield=True), contextlib.suppress(EverfoldError):
        yield
