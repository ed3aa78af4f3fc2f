"""Projections of users: a pure `evolve` of their own over the same log, with the same guarantees.

Rule: the functions are pure, and get the job as it is after the event, so that an event that does
not name the user can be counted by user. States are kept per partition; `merge` makes one of those
of the same key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast

import msgspec

from everfold.projector.folding.context import Context
from everfold.projector.folding.projection import Behind, Outcome
from everfold.projector.folding.rebuilt import read_swap
from everfold.projector.folding.states_folding import StatesFolding
from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.errors import Misconfigured
from everfold.streams.events.checks import check_name
from everfold.streams.events.record import Recorded
from everfold.streams.redis.keys import Keyspace, StatesKeys
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.scripts import Script

S = TypeVar("S")

_swap_states = Script("everfold.projector", "swap_states")

RESERVED = ("jobs",)


class Projection(Generic[S]):
    """States of the type `state`, by a key of your own.

    `key` says to which state an event belongs, None to leave it out. `evolve` returns the state
    after an event, None to have none; its first argument is None where there is none yet. Both
    get the job as it is after the event. An exception from either parks that job in this
    projection, which goes on without it; a rebuild brings it back.

    Raise `version` whenever the functions change: a rebuild is then begun anew, not resumed.
    Raises InvalidName, or Misconfigured for a name that is taken.
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
        if name in RESERVED:
            raise Misconfigured(f"a projection of the name {name!r} is there already")
        self.name, self.version = name, version
        self.key, self.evolve = key, evolve
        self._merge = merge
        self._decoder = msgspec.json.Decoder(state)

    @property
    def group(self) -> str:
        return f"projection:{self.name}"

    def place(self, keys: Keyspace, partition: int, *, rebuilding: bool = False) -> StatesKeys:
        return keys.states(partition, self.name, rebuilding=rebuilding)

    def folding(
        self,
        log: Log,
        partition: int,
        *,
        rebuilding: bool = False,
        archive: Archive | None = None,
    ) -> StatesFolding[S]:
        place = self.place(log.keys, partition, rebuilding=rebuilding)
        return StatesFolding(
            Context(log, partition, archive),
            place,
            key=self.key,
            evolve=self.evolve,
            decode=self._decoder.decode,
        )

    async def swap(self, log: Log, partition: int, token: str) -> Outcome | Behind:
        live = self.place(log.keys, partition)
        rebuilt = self.place(log.keys, partition, rebuilding=True)
        places = (
            *(live.projector(), live.states(), live.parked()),
            *(rebuilt.projector(), rebuilt.states(), rebuilt.parked()),
        )
        return read_swap(await _swap_states.run(log.redis, places, (token,)))

    async def drop_rebuild(self, log: Log, partition: int) -> None:
        keys = self.place(log.keys, partition, rebuilding=True)
        await command(log.redis, "UNLINK", keys.states(), keys.parked(), keys.projector())

    async def states(self, log: Log) -> dict[str, S]:
        """Return every state, those of one key from several partitions merged into one.

        Raises Misconfigured where there are several and no `merge` was given; Unavailable.
        """
        found: dict[str, S] = {}
        for partition in range(log.keys.partitions):
            stored = await read_hash(log.redis, self.place(log.keys, partition).states())
            for name, text in stored.items():
                key, state = name.decode(), self._decoder.decode(text)
                found[key] = self._merged(key, found[key], state) if key in found else state
        return found

    async def state(self, log: Log, key: str) -> S | None:
        """Return the state of one key, None where there is none. Raises as `states` does."""
        found: S | None = None
        for partition in range(log.keys.partitions):
            place = self.place(log.keys, partition).states()
            text = cast("bytes | None", await command(log.redis, "HGET", place, key))
            if text is not None:
                state = self._decoder.decode(text)
                found = state if found is None else self._merged(key, found, state)
        return found

    def _merged(self, key: str, first: S, second: S) -> S:
        if self._merge is None:
            raise Misconfigured(
                f"the key {key!r} of the projection {self.name!r} has a state in more than one "
                "partition; give the projection a `merge`, or keys that contain the job id"
            )
        return self._merge(first, second)
