"""The typed caller of commit.lua.

States travel as MessagePack: the server reads one argument much faster than thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec
from msgspec import Struct

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.parking import Parked
from everfold.projector.folding.projection import Gap, Outcome, Step, read_outcome
from everfold.projector.job.job import Job
from everfold.projector.job.state import to_fields, to_fields_of_progress
from everfold.streams.appending.log import Log
from everfold.streams.redis.keys import JobsKeys
from everfold.streams.redis.scripts import Script

_commit = Script("everfold.projector", "commit")
_pack = msgspec.msgpack.Encoder().encode


class Change(Struct, frozen=True):
    """A job's state before and after a batch; `before.seq` 0: there is no hash yet."""

    before: Job
    after: Job
    only_progress: bool = False
    """Nothing but progress was told in between."""


class Batch(Struct, frozen=True, kw_only=True):
    """What came of a batch of events."""

    changes: Sequence[Change]
    parked: Mapping[str, Parked] = {}
    unparked: Sequence[str] = ()
    """Jobs that are no longer parked."""
    events: int = 0
    """How many were folded."""


async def commit(
    log: Log, partition: int, keys: JobsKeys, *, step: Step, config: ProjectorConfig, batch: Batch
) -> Outcome | Gap:
    """Write a batch: states, index, acknowledgements and checkpoint, all or nothing."""
    parked = [
        text
        for job_id, why in batch.parked.items()
        for text in (job_id, msgspec.json.encode(why).decode())
    ]
    reply = await _commit.run(
        log.redis,
        (log.keys.log(partition), keys.projector(), keys.active(), keys.ended(), keys.parked()),
        (
            step.token,
            step.checkpoint,
            step.following,
            config.closed_ttl_ms,
            keys.job(""),
            step.group,
            _pack(step.entry_ids),
            _pack([_state(change, config) for change in batch.changes]),
            _pack((parked, batch.unparked)),
            batch.events,
        ),
    )
    return read_outcome(reply)


def _state(change: Change, config: ProjectorConfig) -> tuple[object, ...]:
    before, job = change.before, change.after
    fields = to_fields_of_progress if change.only_progress else to_fields
    flat = list(chain.from_iterable(fields(job, before).items()))
    at_ms, until_ms = job.updated_at_ms, _until_ms(before, job, config)
    return job.job_id, before.seq, job.seq, job.is_terminal, at_ms, until_ms, flat


def _until_ms(before: Job, job: Job, config: ProjectorConfig) -> int:
    """Return until when to keep the state, 0 where nothing is to be said of it.

    An open job's is moved on in steps: each would be one more write on the server.
    """
    if job.is_terminal:
        return job.updated_at_ms + config.closed_ttl_ms
    step = job.updated_at_ms // config.open_step_ms
    if before.seq and step == before.updated_at_ms // config.open_step_ms:
        return 0
    return (step + 1) * config.open_step_ms + config.open_ttl_ms
