"""The typed caller of commit.lua, and what it may answer.

States travel as MessagePack: the server reads one argument much faster than thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from msgspec import Struct

from projector.config import ProjectorConfig
from projector.job import Job
from projector.state import to_fields
from streams.log import Log
from streams.scripts import Script

_commit = Script("projector", "commit")
_pack = msgspec.msgpack.Encoder().encode


class Change(Struct, frozen=True):
    """A job's state before and after a batch; `before.seq` 0: there is no hash yet."""

    before: Job
    after: Job


class Batch(Struct, frozen=True):
    """What is written at once: entries that were folded, and what came of them."""

    checkpoint: str
    """Where the projection is thought to be."""
    following: str
    """Where it is after the batch."""
    entry_ids: Sequence[str]
    changes: Sequence[Change]
    parked: Mapping[str, str]
    """Job -> why it is parked, as JSON."""


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


Outcome = Committed | NotOwner | Moved | Foreign | Gap


async def commit(
    log: Log, partition: int, *, token: str, config: ProjectorConfig, batch: Batch
) -> Outcome:
    """Write a batch: states, index, acknowledgements and checkpoint, all or nothing."""
    keys = log.keys
    reply = await _commit.run(
        log.redis,
        (
            keys.log(partition),
            keys.projector(partition),
            keys.active(partition),
            keys.ended(partition),
            keys.parked(partition),
            *(keys.job(change.after.job_id) for change in batch.changes),
        ),
        (
            token,
            batch.checkpoint,
            batch.following,
            config.open_ttl_ms,
            config.closed_ttl_ms,
            _pack(batch.entry_ids),
            _pack([_state(change) for change in batch.changes]),
            _pack([text for pair in batch.parked.items() for text in pair]),
        ),
    )
    return _outcome(reply)


def _state(change: Change) -> tuple[object, ...]:
    before, job = change.before, change.after
    flat = [text for pair in to_fields(job, before).items() for text in pair]
    return job.job_id, before.seq, job.seq, job.is_terminal, job.updated_at_ms, flat


def _outcome(reply: list[object]) -> Outcome:
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
