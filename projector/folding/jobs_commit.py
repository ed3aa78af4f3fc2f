"""Writes the folded states of jobs: the typed caller of commit_jobs.lua.

States travel as MessagePack: the server reads one argument much faster than thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import cast

import msgspec
from msgspec import Struct

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.parking import Parked
from everfold.projector.folding.projection import CommitRequest, Gap, Outcome, read_outcome
from everfold.projector.job.index_names import entry_of
from everfold.projector.job.job import Job
from everfold.projector.job.state import to_fields, to_fields_of_progress
from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import EverfoldError
from everfold.streams.events.record import Recorded
from everfold.streams.redis.partition_keys import JobsKeys
from everfold.streams.redis.redis_errors import reply_meaning
from everfold.streams.redis.script import Script

_commit = Script("everfold.projector", "commit_jobs")
_pack = msgspec.msgpack.Encoder().encode


class StateChange(Struct, frozen=True):
    """A job's state before and after a batch."""

    before: Job
    """With seq 0 there must be no stored state."""
    after: Job
    only_progress: bool = False
    """All events in between are progress."""
    known: Job | None = None
    """The state before, where its stored one has expired."""
    records: Sequence[Recorded] = ()
    """The events in between, for those that count them; of progress alone none."""
    is_anew: bool = False
    """What is stored is of an earlier job of this id, which was trimmed; it is replaced."""


class FoldedBatch(Struct, frozen=True, kw_only=True):
    """The result of folding a batch of events."""

    changes: Sequence[StateChange]
    parked: Mapping[str, Parked] = {}
    """Jobs to park, by job id."""
    unparked: Sequence[str] = ()
    """Jobs that are no longer parked."""
    events: int = 0
    """How many events were folded."""


class Part(Struct, frozen=True):
    """What is to be written of one partition."""

    partition: int
    keys: JobsKeys
    request: CommitRequest
    batch: FoldedBatch


async def commit_jobs(
    log: Log, config: ProjectorConfig, parts: Sequence[Part]
) -> list[Outcome | Gap | EverfoldError]:
    """Write states, indexes, parked jobs and checkpoints of partitions of one server in one call:
    of each all or nothing, whatever becomes of the others. Return what became of each.

    A stored state that is already further than its change is left as it is. Raises Unavailable:
    each part may or may not have been written.
    """
    touched, arguments = list[str](), list[Argument]()
    for part in parts:
        keys, request, batch = part.keys, part.request, part.batch
        touched += (log.keys.log(part.partition), keys.projector(), keys.active(), keys.ended())
        touched += (keys.parked(), keys.index(), keys.indexed())
        arguments += (request.token, request.expected_checkpoint, request.new_checkpoint)
        arguments += (request.group, keys.job(""))
        arguments.append(log.keys.jobs(part.partition, rebuilding=True).job(""))
        arguments.append(_pack([_state(change, config) for change in batch.changes]))
        arguments.append(_pack((_parked(batch), batch.unparked)))
        arguments.append(batch.events)
    shared = (config.closed_ttl_ms, config.indexes)
    replies = await _commit.run(log.redis, touched, (*shared, *arguments))
    return [_outcome(cast("list[object]", reply)) for reply in replies]


def _outcome(reply: Sequence[object]) -> Outcome | Gap | EverfoldError:
    if reply[0] == b"refused":
        return reply_meaning(cast("bytes", reply[1]).decode(errors="replace"))
    return read_outcome(reply)


def _parked(batch: FoldedBatch) -> list[str]:
    return [
        text
        for job_id, found in batch.parked.items()
        for text in (job_id, msgspec.json.encode(found).decode())
    ]


def _state(change: StateChange, config: ProjectorConfig) -> tuple[object, ...]:
    before, job = change.before, change.after
    fields = to_fields_of_progress if change.only_progress else to_fields
    flat = list(chain.from_iterable(fields(job, before).items()))
    at_ms, until_ms = job.updated_at_ms, _until_ms(before, job, config)
    entry = _index_entry(before, job, config)
    stored_seq = -1 if change.is_anew else before.seq
    return job.job_id, stored_seq, job.seq, job.is_terminal, at_ms, until_ms, flat, entry


def _index_entry(before: Job, job: Job, config: ProjectorConfig) -> str:
    """Return the job's entry of `indexed`, empty to leave it as it is.

    Of an open job only its status changes.
    """
    if before.seq and not job.is_terminal and job.status == before.status:
        return ""
    return entry_of(job, sorted(config.index_metadata))


def _until_ms(before: Job, job: Job, config: ProjectorConfig) -> int:
    """Return until when to keep the state (Unix ms), 0 to leave its expiry as it is.

    An open job's expiry moves in steps, because each move is one more write on the server.
    """
    if job.is_terminal:
        return job.updated_at_ms + config.closed_ttl_ms
    step_ms = config.open_step_ms
    step = job.updated_at_ms // step_ms
    if before.seq and step == before.updated_at_ms // step_ms:
        return 0
    return (step + 1) * step_ms + config.open_ttl_ms
