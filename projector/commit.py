"""The typed caller of commit.lua, and what it may answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from msgspec import Struct

from projector.config import ProjectorConfig
from projector.job import Job
from projector.state import to_fields
from streams.log import Log
from streams.scripts import Argument, Script

_commit = Script("projector", "commit")


class Change(Struct, frozen=True):
    """A job's state before and after a batch; `before.seq` 0: there is no hash yet."""

    before: Job
    after: Job


class Committed(Struct, frozen=True):
    pass


class NotOwner(Struct, frozen=True):
    """Somebody else owns the partition."""

    owner: str


class Foreign(Struct, frozen=True):
    """Another consumer was given entries: inherit them and read in order again."""

    consumer: str


class Gap(Struct, frozen=True):
    """A stored state is not where it was thought to be: forget it and read it again."""

    job_id: str
    stored_seq: int


Outcome = Committed | NotOwner | Foreign | Gap


async def commit(
    log: Log,
    partition: int,
    *,
    token: str,
    config: ProjectorConfig,
    entry_ids: Sequence[str],
    changes: Sequence[Change],
    parked: Sequence[tuple[str, bytes]],
) -> Outcome:
    """Write a batch: states, index, acknowledgements and checkpoint, all or nothing."""
    arguments: list[Argument] = [token, config.closed_ttl_ms, len(entry_ids), *entry_ids]
    arguments += [len(parked), *(value for pair in parked for value in pair)]
    for change in changes:
        arguments += _state(change, config)
    keys = log.keys
    reply = await _commit.run(
        log.redis,
        (
            keys.log(partition),
            keys.projector(partition),
            keys.active(partition),
            keys.ended(partition),
            keys.parked(partition),
            *(keys.job(change.after.job_id) for change in changes),
        ),
        arguments,
    )
    return _outcome(reply)


def _state(change: Change, config: ProjectorConfig) -> list[Argument]:
    job = change.after
    fields = to_fields(job, change.before)
    ttl_ms = config.closed_ttl_ms if job.is_terminal else config.open_ttl_ms
    flat = [value for pair in fields.items() for value in pair]
    head = (job.job_id, change.before.seq, job.seq, ttl_ms, int(job.is_terminal))
    return [*head, job.updated_at_ms, len(fields), *flat]


def _outcome(reply: list[object]) -> Outcome:
    values = [value.decode() if isinstance(value, bytes) else value for value in reply]
    match values[0]:
        case "committed":
            return Committed()
        case "not_owner":
            return NotOwner(cast("str", values[1]))
        case "foreign":
            return Foreign(cast("str", values[1]))
        case _:
            return Gap(cast("str", values[1]), cast("int", values[2]))
