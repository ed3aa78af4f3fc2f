"""What every projection has in common, the one of jobs and those of users alike.

Rule: a batch is written with its checkpoint, by one script that refuses a stale owner and a
checkpoint that has moved: whoever folds, and however often, the result is the fold of the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from msgspec import Struct

from everfold.projector.folding.parking import Parked
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.events.record import Recorded
from everfold.streams.redis.keys import Keyspace


class Step(Struct, frozen=True, kw_only=True):
    """From one checkpoint to the next."""

    token: str
    """Of the owner, which is also its consumer name."""
    checkpoint: str
    """Where the projection is thought to be."""
    following: str
    """Where it is after the step."""
    group: str
    """Consumer group in which entries are acknowledged; empty for a rebuild, which has none."""
    entry_ids: Sequence[str]
    """What to acknowledge."""


class Committed(Struct, frozen=True):
    pass


class NotOwner(Struct, frozen=True):
    """Somebody else owns the partition."""

    owner: str


class Moved(Struct, frozen=True):
    """The projection is at another checkpoint: begin again from there."""

    checkpoint: str


class Foreign(Struct, frozen=True):
    """Another consumer was given entries: inherit them and read in order again."""

    consumer: str


class Gap(Struct, frozen=True):
    """Stored states are not where they were thought to be: read them again."""

    stored: dict[str, int]
    """Job -> seq of its stored state, 0 where there is none."""


Outcome = Committed | NotOwner | Moved | Foreign


def read_outcome(reply: Sequence[object]) -> Outcome | Gap:
    name, *values = [value.decode() if isinstance(value, bytes) else value for value in reply]
    match name:
        case "committed":
            return Committed()
        case "not_owner":
            return NotOwner(cast("str", values[0]))
        case "moved":
            return Moved(cast("str", values[0]))
        case "foreign":
            return Foreign(cast("str", values[0]))
        case "gap":
            pairs = zip(values[::2], values[1::2], strict=True)
            return Gap(cast("dict[str, int]", dict(pairs)))
    raise AssertionError(f"commit returned the unknown outcome {name!r}")


class Place(Protocol):
    """Where a projection keeps its checkpoint and its parked jobs, in one partition."""

    def projector(self) -> str: ...

    def parked(self) -> str: ...


class Folding(Protocol):
    """The fold of one partition, with what it keeps in memory of it."""

    @property
    def place(self) -> Place: ...

    def forget(self, parked: Mapping[str, Parked]) -> None:
        """Forget what is in memory; leave alone the jobs that are parked."""
        ...

    async def write(self, batch: Sequence[Recorded], step: Step) -> Outcome:
        """Fold a batch and write what it changes, all or nothing.

        After anything but Committed, `forget` must follow.
        """
        ...

    async def retry(self, jobs: Sequence[str], step: Step) -> Outcome:
        """Fold parked jobs again, as far as the log goes; park them anew where that fails."""
        ...


class AnyProjection(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str:
        """Its consumer group on the log."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same events may lead to another state."""
        ...

    def place(self, keys: Keyspace, partition: int, *, rebuilding: bool = False) -> Place: ...

    def folding(
        self,
        log: Log,
        partition: int,
        *,
        rebuilding: bool = False,
        archive: Archive | None = None,
    ) -> Folding: ...

    async def swap(self, log: Log, partition: int, token: str) -> Outcome | Behind:
        """Put a rebuild in the place of the live projection, at once."""
        ...

    async def drop_rebuild(self, log: Log, partition: int) -> None:
        """Delete what a rebuild has written so far."""
        ...


class Behind(Struct, frozen=True):
    """The live projection is further than the rebuild: catch up first."""

    checkpoint: str
