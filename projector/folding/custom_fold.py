"""Folds one partition of a custom projection.

Rule: as for jobs, the cache holds only what was committed, a batch is written all or nothing, and
an event that cannot be folded parks its own job alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, cast

import anyio
import msgspec
from msgspec import Struct

from everfold.projector.folding.job_tracker import JobTracker
from everfold.projector.folding.parking import BROKEN, GAP, Parked, park, with_skips
from everfold.projector.folding.projection import (
    CommitRequest,
    Committed,
    Gap,
    Outcome,
    read_outcome,
)
from everfold.projector.job.job import Job
from everfold.streams.errors import BrokenChain
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from everfold.streams.redis.partition_keys import StatesKeys
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.script import Script

S = TypeVar("S")

_commit_states = Script("everfold.projector", "commit_states")
_pack = msgspec.msgpack.Encoder().encode

CACHED_STATES = 20_000


class _KeyedEvent(Struct, frozen=True):
    """An event, the state that it belongs to, and its job right after it."""

    key: str
    job: Job
    record: Recorded


class CustomFold(Generic[S]):
    """Folds one partition, with up to CACHED_STATES states cached.

    `key` and `evolve` are the projection's functions, `decode` reads a stored state. See
    PartitionFold for the methods.
    """

    def __init__(
        self,
        tracker: JobTracker,
        keys: StatesKeys,
        *,
        key: Callable[[Job, Recorded], str | None],
        evolve: Callable[[S | None, Job, Recorded], S | None],
        decode: Callable[[bytes], S],
    ) -> None:
        self.keys = keys
        self._log, self._partition = tracker.log, tracker.partition
        self._key, self._evolve, self._decode = key, evolve, decode
        self._tracker = tracker
        self._states: OrderedDict[str, S | None] = OrderedDict()
        self._parked: Mapping[str, Parked] = {}

    def start_over(self, parked: Mapping[str, Parked]) -> None:
        self._tracker.clear()
        self._states.clear()
        self._parked = parked

    async def commit(self, batch: Sequence[Recorded], request: CommitRequest) -> Outcome:
        parked: dict[str, Parked] = {}
        events = await self._keyed(batch, parked)
        changed = await self._fold(events, parked)
        with anyio.CancelScope(shield=True):
            outcome = await self._commit(changed, parked, len(batch), request)
        if isinstance(outcome, Committed):
            self._cache(changed, parked)
        return outcome

    async def retry(self, jobs: Sequence[str], request: CommitRequest) -> Outcome:
        """Do nothing: later events are folded already, so only a rebuild can help."""
        return Committed()

    async def _keyed(
        self, batch: Sequence[Recorded], parked: dict[str, Parked]
    ) -> list[_KeyedEvent]:
        """Return the events that belong to a state; add jobs that cannot be folded to `parked`."""
        events = list[_KeyedEvent]()
        for record in await with_skips(self._log, self._partition, batch):
            name = record.job_id or record.entry_id
            if name in self._parked or name in parked:
                continue
            if isinstance(record.event, Unreadable):
                if not record.event.skipped:
                    parked[name] = park(record, record.event.why)
                continue
            try:
                job = await self._tracker.after(record)
                key = self._key(job, record)
            except BrokenChain as error:
                parked[name] = park(record, str(error), GAP)
            except Exception as error:
                parked[name] = park(record, _broken(error), BROKEN)
            else:
                if key is not None:
                    events.append(_KeyedEvent(key, job, record))
        return events

    async def _fold(
        self, events: Sequence[_KeyedEvent], parked: dict[str, Parked]
    ) -> dict[str, S | None]:
        """Return the states that change; add jobs whose `evolve` raises to `parked`."""
        states = await self._load({event.key for event in events})
        changed: dict[str, S | None] = {}
        for event in events:
            key, record = event.key, event.record
            if record.job_id in parked and record.seq >= parked[record.job_id].seq:
                continue
            before = changed[key] if key in changed else states[key]
            try:
                after = self._evolve(before, event.job, record)
            except Exception as error:
                parked[record.job_id] = park(record, _broken(error), BROKEN)
                continue
            changed[key] = after
        return changed

    async def _load(self, keys: set[str]) -> dict[str, S | None]:
        missing = [key for key in keys if key not in self._states]
        if missing:
            # Measured first, so that answers never pile up on the server.
            states, redis = self.keys.states(), self._log.redis
            sizes = await commands(redis, [("HSTRLEN", states, key) for key in missing])
            asked = [("HGET", states, key) for key in missing]
            reply = await commands(redis, asked, cast("list[int]", sizes))
            for key, text in zip(missing, cast("list[bytes | None]", reply), strict=True):
                self._states[key] = None if text is None else self._decode(text)
        return {key: self._states[key] for key in keys}

    async def _commit(
        self,
        changed: Mapping[str, S | None],
        parked: Mapping[str, Parked],
        events: int,
        request: CommitRequest,
    ) -> Outcome:
        states = {key: state for key, state in changed.items() if state is not None}
        gone = [key for key, state in changed.items() if state is None]
        keys = self.keys
        reply = await _commit_states.run(
            self._log.redis,
            (
                self._log.keys.log(self._partition),
                *(keys.projector(), keys.states(), keys.parked()),
            ),
            (
                *(request.token, request.expected_checkpoint, request.new_checkpoint),
                request.group,
                *(_pack((_flat(states), gone, _flat(parked))), events),
            ),
        )
        outcome = read_outcome(reply)
        assert not isinstance(outcome, Gap)
        return outcome

    def _cache(self, changed: Mapping[str, S | None], parked: Mapping[str, Parked]) -> None:
        """Cache what was committed."""
        self._tracker.evict()
        self._parked = {**self._parked, **parked}
        for key, state in changed.items():
            self._states[key] = state
            self._states.move_to_end(key)
        while len(self._states) > CACHED_STATES:
            self._states.popitem(last=False)


def _flat(fields: Mapping[str, object]) -> list[str]:
    """Return keys and values as JSON in turns, as HSET takes them."""
    return [
        text for key, value in fields.items() for text in (key, msgspec.json.encode(value).decode())
    ]


def _broken(error: Exception) -> str:
    return f"the projection's own function raised {type(error).__name__}: {error}"
