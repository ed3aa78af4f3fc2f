"""Reads jobs from the hashes that the projection stores, one or many.

Rule: of many, the large fields are measured first, so that answers never pile up on the server.
A key of another type is a state that cannot be read, and no trouble for the others.
After a rebuild's swap a state counts as it was rebuilt, although it may still have to be moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import cast

from everfold.projector.job.job import Job
from everfold.projector.job.state import from_fields
from everfold.streams.appending.log import Log
from everfold.streams.errors import WrongKeyType
from everfold.streams.redis.each import each
from everfold.streams.redis.partition_keys import JobsKeys
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.script import Script

_measure_hashes = Script("everfold.projector", "measure_hashes", is_read_only=True)

LARGE_FIELDS = (
    *("metadata", "outputs", "problems", "error", "reason", "refused_by", "policy"),
    *("tags", "needs"),
)
"""Fields of a state without a small limit."""

OTHERS_BYTES = 4096
"""What the other fields of a state have together at most, but for long names."""

StoredState = Mapping[bytes, bytes]

_ODD: StoredState = {b"": b""}
"""Stands for what another program has put there: it cannot be read as a job."""


async def read_stored_state(log: Log, job_id: str, *, rebuilding: bool = False) -> StoredState:
    """Return the fields of the state of a job, empty where there is none. Raises Unavailable.

    With `rebuilding` it is the one that a rebuild has written, as long as it is not swapped.
    """
    try:
        return await _read_state(log, job_id, rebuilding)
    except WrongKeyType:
        [state] = await read_stored_states(log, [job_id], rebuilding=rebuilding)
        return state


async def _read_state(log: Log, job_id: str, rebuilding: bool) -> StoredState:
    keys = _keys_of(log, job_id, rebuilding)
    # The state first: where nothing moves afterwards, it counted when it was read.
    asked = [("HGETALL", keys.job(job_id)), ("HGET", keys.projector(), "moving")]
    stored, moving = await commands(log.redis, asked)
    if moving is None:
        return _fields(stored)
    # The rebuilt one first: where it is not there any more, it has been moved to the other.
    rebuilt_keys = _keys_of(log, job_id, rebuilding=True)
    asked = [("HGETALL", rebuilt_keys.job(job_id)), ("HGETALL", keys.job(job_id))]
    rebuilt, stored = await commands(log.redis, asked)
    return _newer(_fields(rebuilt), _fields(stored))


async def read_stored_job(log: Log, job_id: str, *, rebuilding: bool = False) -> Job | None:
    """Return the stored job; None where there is none or it cannot be read. See
    `read_stored_state`."""
    return from_fields(await read_stored_state(log, job_id, rebuilding=rebuilding))


async def read_stored_jobs(
    log: Log, job_ids: Sequence[str], *, rebuilding: bool = False
) -> list[Job | None]:
    """Return for each job, in order, what `read_stored_job` returns for it. Raises Unavailable."""
    stored = await read_stored_states(log, job_ids, rebuilding=rebuilding)
    return [from_fields(state) for state in stored]


async def read_stored_states(
    log: Log, job_ids: Sequence[str], *, rebuilding: bool = False
) -> list[StoredState]:
    """Return for each job, in order, what `read_stored_state` returns. Raises Unavailable."""
    if not job_ids:
        return []
    by_partition = jobs_by_partition(log, job_ids)

    async def measure(partition: int) -> tuple[bool, list[int]]:
        keys = log.keys.jobs(partition, rebuilding=rebuilding)
        return await _measured(log, keys, [keys.job(one) for one in by_partition[partition]])

    outcomes = await each(log, measure, by_partition)
    outcomes.all()
    sizes, moving = dict[str, int](), list[str]()
    for partition, (is_moving, measured) in outcomes.values.items():
        sizes |= dict(zip(by_partition[partition], measured, strict=True))
        if is_moving:
            moving += by_partition[partition]
    rebuilt = await _rebuilt(log, moving)
    keys = {one: _keys_of(log, one, rebuilding).job(one) for one in sizes}
    stored = await _read_all(log, keys, sizes)
    found = {one: _newer(rebuilt.get(one, {}), state) for one, state in stored.items()}
    return [found[job_id] for job_id in job_ids]


async def _read_all(
    log: Log, keys: Mapping[str, str], sizes: Mapping[str, int]
) -> dict[str, StoredState]:
    """Return the state at the key of each job, which has about so many bytes."""
    some = [job_id for job_id in keys if sizes[job_id] >= 0]
    asked = [("HGETALL", keys[job_id]) for job_id in some]
    replies = await commands(log.redis, asked, [sizes[job_id] for job_id in some])
    read = {job_id: _fields(reply) for job_id, reply in zip(some, replies, strict=True)}
    return {job_id: read.get(job_id, _ODD) for job_id in keys}


def jobs_by_partition(log: Log, job_ids: Sequence[str]) -> dict[int, list[str]]:
    """Return the jobs of each partition that has any of these."""
    found = dict[int, list[str]]()
    for job_id in job_ids:
        found.setdefault(log.keys.partition_of(job_id), []).append(job_id)
    return found


async def _rebuilt(log: Log, job_ids: Sequence[str]) -> dict[str, StoredState]:
    """Return the rebuilt states that are still to be moved, empty where it has been."""
    found: dict[str, StoredState] = {}
    for _, group in groupby(job_ids, log.keys.partition_of):
        of_partition = list(group)
        keys = _keys_of(log, of_partition[0], rebuilding=True)
        names = {one: keys.job(one) for one in of_partition}
        _, sizes = await _measured(log, keys, list(names.values()))
        found |= await _read_all(log, names, dict(zip(of_partition, sizes, strict=True)))
    return found


async def _measured(log: Log, keys: JobsKeys, names: Sequence[str]) -> tuple[bool, list[int]]:
    """Return whether states of a partition are to be moved, and about how many bytes each of the
    hashes has, -1 for a key of another type."""
    reply = await _measure_hashes.run(log.redis, (keys.projector(), *names), LARGE_FIELDS)
    _, moving, *sizes = cast("list[int]", reply)
    return bool(moving), [OTHERS_BYTES + size if size >= 0 else -1 for size in sizes]


def _keys_of(log: Log, job_id: str, rebuilding: bool) -> JobsKeys:
    return log.keys.jobs(log.keys.partition_of(job_id), rebuilding=rebuilding)


def _fields(reply: object) -> StoredState:
    flat = cast("list[bytes]", reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _newer(rebuilt: StoredState, stored: StoredState) -> StoredState:
    """Return the state with the later event, the rebuilt one of two of the same."""
    return rebuilt if rebuilt and _seq(rebuilt) >= _seq(stored) else stored


def _seq(state: StoredState) -> int:
    seq = state.get(b"seq", b"0")
    return int(seq) if seq.isdigit() else 0
