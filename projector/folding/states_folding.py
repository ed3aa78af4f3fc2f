"""Folding one partition of a user's projection.

Rule: the same as for jobs: what is kept in memory is only what was committed, a batch is written
all or nothing, and what cannot be folded parks its job alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar, cast

import anyio
import msgspec

from everfold.projector.folding.context import Context
from everfold.projector.folding.parking import BROKEN, GAP, Parked, park, with_skips
from everfold.projector.folding.projection import Committed, Gap, Outcome, Step, read_outcome
from everfold.projector.job.job import Job
from everfold.streams.errors import BrokenChain
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from everfold.streams.redis.keys import StatesKeys
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.scripts import Script

S = TypeVar("S")

_commit_states = Script("everfold.projector", "commit_states")
_pack = msgspec.msgpack.Encoder().encode

CACHED_STATES = 20_000


class StatesFolding(Generic[S]):
    def __init__(
        self,
        context: Context,
        place: StatesKeys,
        *,
        key: Callable[[Job, Recorded], str | None],
        evolve: Callable[[S | None, Job, Recorded], S | None],
        decode: Callable[[bytes], S],
    ) -> None:
        self.place = place
        self._log, self._partition = context.log, context.partition
        self._key, self._evolve, self._decode = key, evolve, decode
        self._context = context
        self._states: OrderedDict[str, S | None] = OrderedDict()
        self._parked: Mapping[str, Parked] = {}

    def forget(self, parked: Mapping[str, Parked]) -> None:
        self._context.forget()
        self._states.clear()
        self._parked = parked

    async def write(self, batch: Sequence[Recorded], step: Step) -> Outcome:
        parked: dict[str, Parked] = {}
        told = await self._told(batch, parked)
        changed = await self._fold(told, parked)
        with anyio.CancelScope(shield=True):
            outcome = await self._commit(changed, parked, len(batch), step)
        if isinstance(outcome, Committed):
            self._keep(changed, parked)
        return outcome

    async def retry(self, jobs: Sequence[str], step: Step) -> Outcome:
        """Do nothing: the events that follow were folded already, so only a rebuild can help."""
        return Committed()

    async def _told(
        self, batch: Sequence[Recorded], parked: dict[str, Parked]
    ) -> list[tuple[str, Job, Recorded]]:
        """Return each event that belongs to a state, with its key and its job."""
        told = []
        for record in await with_skips(self._log, self._partition, batch):
            name = record.job_id or record.entry_id
            if name in self._parked or name in parked:
                continue
            if isinstance(record.event, Unreadable):
                if not record.event.skipped:
                    parked[name] = park(record, record.event.why)
                continue
            try:
                job = await self._context.after(record)
                key = self._key(job, record)
            except BrokenChain as error:
                parked[name] = park(record, str(error), GAP)
            except Exception as error:
                parked[name] = park(record, _broken(error), BROKEN)
            else:
                if key is not None:
                    told.append((key, job, record))
        return told

    async def _fold(
        self, told: Sequence[tuple[str, Job, Recorded]], parked: dict[str, Parked]
    ) -> dict[str, S | None]:
        states = await self._loaded({key for key, _, _ in told})
        changed: dict[str, S | None] = {}
        for key, job, record in told:
            if record.job_id in parked and record.seq >= parked[record.job_id].seq:
                continue
            before = changed[key] if key in changed else states[key]
            try:
                after = self._evolve(before, job, record)
            except Exception as error:
                parked[record.job_id] = park(record, _broken(error), BROKEN)
                continue
            changed[key] = after
        return changed

    async def _loaded(self, keys: set[str]) -> dict[str, S | None]:
        missing = [key for key in keys if key not in self._states]
        if missing:
            ask = ("HMGET", self.place.states(), *missing)
            reply = cast("list[bytes | None]", await command(self._log.redis, *ask))
            for key, text in zip(missing, reply, strict=True):
                self._states[key] = None if text is None else self._decode(text)
        return {key: self._states[key] for key in keys}

    async def _commit(
        self, changed: Mapping[str, S | None], parked: Mapping[str, Parked], events: int, step: Step
    ) -> Outcome:
        encode = msgspec.json.encode
        kept = [
            text
            for key, state in changed.items()
            if state is not None
            for text in (key, encode(state).decode())
        ]
        gone = [key for key, state in changed.items() if state is None]
        told = [text for name, why in parked.items() for text in (name, encode(why).decode())]
        place = self.place
        reply = await _commit_states.run(
            self._log.redis,
            (
                self._log.keys.log(self._partition),
                *(place.projector(), place.states(), place.parked()),
            ),
            (
                *(step.token, step.checkpoint, step.following, step.group),
                *(_pack(step.entry_ids), _pack((kept, gone, told)), events),
            ),
        )
        outcome = read_outcome(reply)
        assert not isinstance(outcome, Gap)
        return outcome

    def _keep(self, changed: Mapping[str, S | None], parked: Mapping[str, Parked]) -> None:
        self._context.keep()
        self._parked = {**self._parked, **parked}
        for key, state in changed.items():
            self._states[key] = state
            self._states.move_to_end(key)
        while len(self._states) > CACHED_STATES:
            self._states.popitem(last=False)


def _broken(error: Exception) -> str:
    return f"the projection's own function raised {type(error).__name__}: {error}"
