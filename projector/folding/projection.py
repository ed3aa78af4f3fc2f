"""What all projections share: their protocols, and the outcomes of a commit and of a swap.

Rule: a batch is written together with its checkpoint, by one script that refuses a stale owner and
a moved checkpoint. So the stored states equal the fold of the log, whoever folds and however often.
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


class CommitRequest(Struct, frozen=True, kw_only=True):
    """What a commit needs beside the states: who commits, and from where to where."""

    token: str
    """Token of the partition's owner."""
    expected_checkpoint: str
    """Entry id; the commit is refused when the stored checkpoint is another one."""
    new_checkpoint: str
    """Entry id of the last event that is folded after the commit."""
    group: str
    """Consumer group that is put at the new checkpoint; empty for a rebuild, which has none."""


class Committed(Struct, frozen=True):
    """Everything was written."""


class NotOwner(Struct, frozen=True):
    """Another process owns the partition. Nothing was written."""

    owner: str
    """Its token; empty while nobody owns the partition."""


class Moved(Struct, frozen=True):
    """The stored checkpoint is another one: start over from it. Nothing was written."""

    checkpoint: str


class PendingElsewhere(Struct, frozen=True):
    """A consumer of the group has pending entries, which a program of an earlier version was
    given: start over, which forgets them. Nothing was written."""

    consumer: str


class Gap(Struct, frozen=True):
    """Some stored states are at another event than expected: read them again. Nothing was
    written."""

    stored: dict[str, int]
    """Job id -> sequence number of its stored state, 0 where there is none, below 0 where something
    else stands there."""


class RebuildBehind(Struct, frozen=True):
    """The live projection is further than the rebuild: fold on, then swap. Nothing was changed."""

    checkpoint: str
    """That of the live projection."""


Outcome = Committed | NotOwner | Moved | PendingElsewhere


def read_outcome(reply: Sequence[object]) -> Outcome | Gap:
    """Return the outcome that a commit script replied with."""
    name, *values = _decoded(reply)
    match name:
        case "committed":
            return Committed()
        case "not_owner":
            return NotOwner(cast("str", values[0]))
        case "moved":
            return Moved(cast("str", values[0]))
        case "foreign":
            return PendingElsewhere(cast("str", values[0]))
        case "gap":
            pairs = zip(values[::2], values[1::2], strict=True)
            return Gap(cast("dict[str, int]", dict(pairs)))
    raise AssertionError(f"commit returned the unknown outcome {name!r}")


def read_swap(reply: Sequence[object]) -> Outcome | RebuildBehind:
    """Return the outcome that a swap script replied with."""
    name, *values = _decoded(reply)
    match name:
        case "swapped":
            return Committed()
        case "not_owner":
            return NotOwner(cast("str", values[0]))
        case "behind":
            return RebuildBehind(cast("str", values[0]))
    raise AssertionError(f"swap returned the unknown outcome {name!r}")


def _decoded(reply: Sequence[object]) -> list[object]:
    return [value.decode() if isinstance(value, bytes) else value for value in reply]


class ProjectionKeys(Protocol):
    """The keys that every projection has in a partition."""

    def projector(self) -> str:
        """HASH: owner token and its lease, checkpoint, counters."""
        ...

    def parked(self) -> str:
        """HASH: job id -> why its events cannot be folded, as JSON."""
        ...


class PartitionFold(Protocol):
    """Folds one partition of a projection, and caches states of it."""

    @property
    def keys(self) -> ProjectionKeys: ...

    def start_over(self, parked: Mapping[str, Parked]) -> None:
        """Drop all cached states. From now on, ignore events of the `parked` jobs."""
        ...

    async def commit(self, batch: Sequence[Recorded], request: CommitRequest) -> Outcome:
        """Fold a batch in log order and write all that it changes, or nothing.

        After any outcome but Committed the caller must call `start_over`. Raises Unavailable: the
        batch may or may not have been written.
        """
        ...

    async def retry(self, jobs: Sequence[str], request: CommitRequest) -> Outcome:
        """Fold parked jobs again up to the end of the log; park those that fail again.

        Outcomes and errors as for `commit`.
        """
        ...


class AnyProjection(Protocol):
    """A projection that a projector can fold and a rebuild can replace."""

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

    def keys(
        self, keyspace: Keyspace, partition: int, *, rebuilding: bool = False
    ) -> ProjectionKeys:
        """Return the keys of the live projection, or those of a rebuild beside it."""
        ...

    def partition_fold(
        self,
        log: Log,
        partition: int,
        *,
        rebuilding: bool = False,
        archive: Archive | None = None,
    ) -> PartitionFold:
        """Return a fold with an empty cache. `archive` has what is no longer in the log."""
        ...

    async def swap(self, log: Log, partition: int, token: str) -> Outcome | RebuildBehind:
        """Replace the live states of a partition by the rebuilt ones, in one script, which takes
        the same time for any number of states. `move_states` is to follow.

        `token` is that of the process that owns the rebuild.
        """
        ...

    async def move_states(self, log: Log, partition: int, *, older_than_s: float = 0.0) -> None:
        """Do what a swap has left for afterwards, if it was so long ago; it may be repeated."""
        ...

    async def drop_rebuild(self, log: Log, partition: int) -> None:
        """Delete everything that an unfinished rebuild has written."""
        ...
