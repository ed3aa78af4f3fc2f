"""Compares the index of jobs with their stored states, for verify.

Rule: it only reads. What an index does not have yet, because it needs a rebuild, is no difference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import chain
from typing import cast

from everfold.projector.folding.stored_jobs import read_stored_state
from everfold.projector.job.index_names import INDEX_VERSION, entry_of, members_of
from everfold.projector.job.invariants import Difference
from everfold.projector.job.state import from_fields
from everfold.streams.appending.log import Log
from everfold.streams.redis.pages import PAGE
from everfold.streams.redis.partition_keys import JobsKeys
from everfold.streams.redis.redis_errors import command, commands

ENTRIES = 25
"""Entries that are asked for in one command."""

ENTRY_BYTES = 10_000
"""Of one at most: sixteen tags and eight values of the metadata, in any script."""

READ_AGAIN = 20
"""Attempts at a job that changes all the time."""


async def complete_indexes(log: Log, partition: int) -> list[str]:
    """Return which indexes of a partition are complete: none, or a version, then metadata names."""
    found = await command(log.redis, "HGET", log.keys.projector(partition), "indexes")
    words = found.decode(errors="replace").split() if isinstance(found, bytes) else []
    return words if INDEX_VERSION in words else []


async def index_differences(log: Log, job_id: str) -> list[Difference]:
    """Return how the index has a job in another way than its stored state says."""
    partition = log.keys.partition_of(job_id)
    complete = await complete_indexes(log, partition)
    if not complete:
        return []
    metadata_keys, jobs = complete[1:], log.keys.jobs(partition)
    for _ in range(READ_AGAIN):
        stored = await read_stored_state(log, job_id)
        state = from_fields(stored)
        if state is None:
            return []
        expected = entry_of(state, metadata_keys)
        entry = await command(log.redis, "HGET", jobs.indexed(), job_id)
        found = known_entry(entry, metadata_keys)
        asked = [("ZSCORE", jobs.index(), member) for member in members_of(job_id, expected)]
        has_all = found == expected and None not in await commands(log.redis, asked)
        if has_all or stored == await read_stored_state(log, job_id):
            shown = found.replace("\n", " ") or "none"
            missing = shown if found != expected else "some of its members are missing"
            wanted = expected.replace("\n", " ")
            return [] if has_all else [Difference(4, job_id, "its index", wanted, missing)]
    return []


def known_entry(entry: object, metadata_keys: Sequence[str]) -> str:
    """Return what the hash of entries has of a job, empty for none, without the names of metadata
    that are not indexed for all."""
    if not isinstance(entry, bytes):
        return ""
    kept = tuple(f"metadata.{key}=" for key in metadata_keys)
    lines = entry.decode(errors="replace").split("\n")
    return "\n".join(
        line for line in lines if not line.startswith("metadata.") or line.startswith(kept)
    )


async def read_entries(log: Log, jobs: JobsKeys, ids: Sequence[str]) -> list[bytes | None]:
    """Return what the hash of entries has of each job, None for nothing."""
    pages = [ids[at : at + ENTRIES] for at in range(0, len(ids), ENTRIES)]
    asked = [("HMGET", jobs.indexed(), *page) for page in pages]
    replies = await commands(log.redis, asked, [ENTRIES * ENTRY_BYTES] * len(asked))
    return [*chain.from_iterable(cast("list[list[bytes | None]]", replies))]


async def stray_members(log: Log, partition: int) -> AsyncIterator[Difference]:
    """Yield each member of an index whose job does not have it."""
    jobs, cursor = log.keys.jobs(partition), b"0"
    while True:
        reply = await command(log.redis, "ZSCAN", jobs.index(), cursor, "COUNT", PAGE)
        cursor, flat = cast("tuple[bytes, list[bytes]]", reply)
        for member in await _not_known(log, jobs, flat[::2]):
            if await _is_stray(log, jobs, member):
                found = member.decode(errors="replace").replace("\n", " ")
                yield Difference(4, _job_of(member), "its index", "no such member", found)
        if cursor == b"0":
            return


async def _not_known(log: Log, jobs: JobsKeys, members: Sequence[bytes]) -> list[bytes]:
    """Return those of some members that are in no entry now."""
    ids = list(dict.fromkeys(map(_job_of, members)))
    known = set[bytes]()
    for job_id, entry in zip(ids, await read_entries(log, jobs, ids), strict=True):
        if entry is not None:
            known.update(members_of(job_id, _text(entry)))
    return [member for member in members if member not in known]


async def _is_stray(log: Log, jobs: JobsKeys, member: bytes) -> bool:
    """Say whether a member is there without an entry that has it, at every look."""
    job_id = _job_of(member)
    for _ in range(READ_AGAIN):
        entry = await command(log.redis, "HGET", jobs.indexed(), job_id)
        if isinstance(entry, bytes) and member in members_of(job_id, _text(entry)):
            return False
        if await command(log.redis, "ZSCORE", jobs.index(), member) is None:
            return False
        if entry == await command(log.redis, "HGET", jobs.indexed(), job_id):
            return True
    return False


def _job_of(member: bytes) -> str:
    """Return the id of the job that a member of the index is of."""
    if member.startswith(b"#"):
        return _text(member[1:])
    return _text(member[:0:-1] if member.startswith(b"$") else member.split(b"\n", 2)[-1])


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")
