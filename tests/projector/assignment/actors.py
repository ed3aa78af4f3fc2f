"""Owners of one partition, moved step by step, so that every interleaving can be played.

An owner reads, folds and commits by the product's own code; what a schedule adds is when, and at
which point it dies.
"""

from __future__ import annotations

from collections.abc import Sequence

from everfold.projector.assignment.assignment import PartitionLeaseLost
from everfold.projector.assignment.member import Member
from everfold.projector.assignment.places import Places
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.partition_projector import OutOfOrder, PartitionProjector
from everfold.streams.appending.log import Log
from everfold.streams.connections.replies import NoGroup
from everfold.streams.events.codec import encode
from everfold.streams.events.event import Event
from everfold.streams.events.record import NO_ENTRY, Recorded, recorded
from everfold.streams.reading.shared_reader import SharedReader
from everfold.streams.redis.keys import PROJECTOR_GROUP
from everfold.streams.redis.redis_errors import command

PARTITION = 0
KEY_TTL_S = 600


class Owner:
    """A projector process, as far as partition 0 is concerned."""

    def __init__(self, log: Log, name: str) -> None:
        self._log, self._name = log, name
        self._held: Sequence[Recorded] = ()
        self._begin()

    def _begin(self) -> None:
        self._member = Member(self._log, "jobs", self._name, KEY_TTL_S)
        log, group = self._log, PROJECTOR_GROUP
        self._projector = PartitionProjector(
            log,
            PARTITION,
            self._member.token,
            JobsProjection(),
            places=Places(log, group, log.keys.projector),
            shared=SharedReader(log, group),
        )
        self._is_ready = False

    async def take(self) -> None:
        """Own the partition, whoever has it: as if the other one's lease had run out."""
        lease_key = self._log.keys.projector(PARTITION)
        await command(self._log.redis, "HSET", lease_key, "until_ms", 0)
        await self._member.acquire(lease_key)

    async def start_over(self) -> None:
        self._held = ()
        await self._try(self._projector._start_over())
        self._is_ready = True

    async def read(self, most: int) -> None:
        """Be given entries, and stall before anything comes of them."""
        if self._is_ready and not self._held:
            projector = self._projector
            read = projector._reader.read_ready(projector._checkpoint, most)
            self._held = await self._try(read) or ()

    async def commit(self) -> None:
        held, self._held = self._held, ()
        if self._is_ready and held:
            await self._try(self._projector._fold_and_commit(held))

    async def work(self, number: int) -> None:
        """Do what an owner does all day, having become it if need be."""
        if not self._is_ready:
            await self.take()
            await self.start_over()
        await self.read(number + 1)
        await self.commit()

    async def die(self) -> None:
        """End without a word; another process of the same name begins."""
        await self.aclose()
        self._held = ()
        self._begin()

    async def _try(self, doing: object) -> Sequence[Recorded] | None:
        try:
            return await doing  # type: ignore[misc, no-any-return]
        except (PartitionLeaseLost, OutOfOrder, NoGroup):
            self._is_ready = False
            self._held = ()
            return None

    async def aclose(self) -> None:
        await self._projector._reader.aclose()


class Writer:
    """Appends jobs' events to partition 0, past the scripts, as fast as a schedule wants."""

    def __init__(self, log: Log, histories: Sequence[Sequence[Event]]) -> None:
        self._log = log
        self.told: dict[str, list[Recorded]] = {}
        self._left: dict[str, list[Event]] = {}
        number = 0
        for history in histories:
            while log.keys.partition_of(f"job-{number}") != PARTITION:
                number += 1
            self._left[f"job-{number}"] = list(history)
            self.told[f"job-{number}"] = []
            number += 1

    @property
    def jobs(self) -> list[str]:
        return list(self._left)

    async def append(self, which: int) -> None:
        """Append the next event of a job that still has one."""
        waiting = [job_id for job_id, left in self._left.items() if left]
        if waiting:
            await self._append(waiting[which % len(waiting)])

    async def append_all(self) -> None:
        while any(self._left.values()):
            await self.append(0)

    async def _append(self, job_id: str) -> None:
        told, event = self.told[job_id], self._left[job_id].pop(0)
        seq, epoch = len(told) + 1, told[-1].epoch if told else 0
        epoch += type(event).__name__ in ("Claimed", "Recovered")
        previous = told[-1].entry_id if told else NO_ENTRY
        fields = ("j", job_id, "s", seq, "e", epoch, "p", previous, "d", encode(event))
        keys, redis = self._log.keys, self._log.redis
        entry_id = await command(redis, "XADD", keys.log(PARTITION), "*", *fields)
        assert isinstance(entry_id, bytes)
        flat = [str(value).encode() if isinstance(value, int | str) else value for value in fields]
        told.append(recorded(entry_id, flat))
        head = ("seq", seq, "epoch", epoch, "last", entry_id, "status", "open")
        await command(redis, "HSET", keys.head(job_id), *head)


async def deliver_all_again(log: Log) -> None:
    """Lose the group, and make it again at the beginning."""
    key = log.keys.log(PARTITION)
    if await command(log.redis, "EXISTS", key):
        await command(log.redis, "XGROUP DESTROY", key, PROJECTOR_GROUP)
        await command(log.redis, "XGROUP CREATE", key, PROJECTOR_GROUP, "0")
