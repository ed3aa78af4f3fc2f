"""Custom projections: pure functions of your own over the same log, with the same guarantees.

Rule: the functions get the job as it is after the event, so an event that does not name the user
can be counted by user. States are stored per partition; `merge` joins those of the same key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast

from everfold.projector.folding.custom_fold import CustomFold
from everfold.projector.folding.job_tracker import JobTracker
from everfold.projector.folding.projection import Outcome, RebuildBehind, read_swap
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import Misconfigured
from everfold.streams.events.checks import check_name
from everfold.streams.events.json_text import decoder
from everfold.streams.events.record import Recorded
from everfold.streams.redis.each import each
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.pages import read_large_hash
from everfold.streams.redis.partition_keys import StatesKeys
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script

S = TypeVar("S")

_swap_states = Script("everfold.projector", "swap_states")

RESERVED_NAMES = ("jobs",)


class Projection(Generic[S]):
    """States of the type `state`, by a key of your own.

    `key(job, record)` returns the key of the state that an event belongs to, or None to ignore the
    event. `evolve(state, job, record)` returns the state after the event, or None to delete it;
    `state` is None where there is none yet. `job` is the job right after the event. Both must be
    pure. If either raises, the job is parked in this projection and the others go on; a rebuild
    folds it again. `merge(first, second)` joins the states of one key from two partitions.

    `state` is any type that msgspec can encode as JSON. Change `version` whenever you change the
    functions: an unfinished rebuild of another version is not resumed.
    Raises InvalidName, or Misconfigured for a reserved name.
    """

    def __init__(
        self,
        *,
        name: str,
        state: type[S],
        key: Callable[[Job, Recorded], str | None],
        evolve: Callable[[S | None, Job, Recorded], S | None],
        merge: Callable[[S, S], S] | None = None,
        version: str = "1",
    ) -> None:
        check_name("projection", name)
        if name in RESERVED_NAMES:
            raise Misconfigured(f"the projection name {name!r} is reserved; choose another one")
        self.name, self.version = name, version
        self.key, self.evolve = key, evolve
        self._merge = merge
        self._decode = decoder(state)

    @property
    def group(self) -> str:
        """Its consumer group on the log."""
        return f"projection:{self.name}"

    def keys(self, keyspace: Keyspace, partition: int, *, rebuilding: bool = False) -> StatesKeys:
        """Return the keys of the live states, or those of a rebuild beside them."""
        return keyspace.states(partition, self.name, rebuilding=rebuilding)

    def partition_fold(
        self,
        log: Log,
        partition: int,
        *,
        rebuilding: bool = False,
        archive: Archive | None = None,
    ) -> CustomFold[S]:
        """Return a fold with an empty cache. `archive` has what is no longer in the log."""
        return CustomFold(
            JobTracker(log, partition, archive),
            self.keys(log.keys, partition, rebuilding=rebuilding),
            key=self.key,
            evolve=self.evolve,
            decode=self._decode,
        )

    async def swap(self, log: Log, partition: int, token: str) -> Outcome | RebuildBehind:
        """Replace the live states of a partition by the rebuilt ones, in one script."""
        live = self.keys(log.keys, partition)
        rebuilt = self.keys(log.keys, partition, rebuilding=True)
        keys = (
            *(live.projector(), live.states(), live.parked()),
            *(rebuilt.projector(), rebuilt.states(), rebuilt.parked()),
        )
        return read_swap(await _swap_states.run(log.redis, keys, (token,)))

    async def move_states(self, log: Log, partition: int, *, older_than_s: float = 0.0) -> None:
        """Do nothing: states of a partition are one key, which a swap renames."""

    async def drop_rebuild(self, log: Log, partition: int) -> None:
        """Delete everything that an unfinished rebuild has written."""
        keys = self.keys(log.keys, partition, rebuilding=True)
        await command(log.redis, "UNLINK", keys.states(), keys.parked(), keys.projector())

    async def states(self, log: Log) -> dict[str, S]:
        """Return all states by key, as far as they are projected; all are in memory at once.

        Raises Misconfigured where a key has states in several partitions and no `merge` was given,
        and Unavailable.
        """
        found: dict[str, S] = {}

        async def read(partition: int) -> dict[bytes, bytes]:
            return await read_large_hash(log.redis, self.keys(log.keys, partition).states())

        for stored in (await each(log, read)).all():
            for name, text in stored.items():
                key, state = name.decode(), self._decode(text)
                found[key] = self._merged(key, found[key], state) if key in found else state
        return found

    async def state(self, log: Log, key: str) -> S | None:
        """Return the state of one key, None where there is none. Raises as `states` does."""
        found: S | None = None

        async def read(partition: int) -> bytes | None:
            states = self.keys(log.keys, partition).states()
            return cast("bytes | None", await command(log.redis, "HGET", states, key))

        for text in (await each(log, read)).all():
            if text is not None:
                state = self._decode(text)
                found = state if found is None else self._merged(key, found, state)
        return found

    def _merged(self, key: str, first: S, second: S) -> S:
        if self._merge is None:
            raise Misconfigured(
                f"the key {key!r} of the projection {self.name!r} has a state in more than one "
                "partition; give the projection a `merge`, or keys that contain the job id"
            )
        return self._merge(first, second)
