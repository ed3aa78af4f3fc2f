"""What is left of what was told: acknowledged submits, delivered events, runs in the ledger.

Rule: it is asked after the target is whole again and the memories of all living processes have had
their time. What a client was told is compared with the log itself, not with the projection.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.events.codec import Unreadable
from everfold.streams.reading.reader import job_events

AT_ONCE = 500


class Left(Struct, frozen=True):
    """What became of what was told in one round."""

    unknown: frozenset[str] = frozenset()
    """Jobs whose acknowledged submit the log does not have."""
    named: frozenset[str] = frozenset()
    """Jobs of which the server lost something, and a process said so."""
    put_back: frozenset[str] = frozenset()
    """Those of them that the log has again."""
    gone: frozenset[str] = frozenset()
    """Jobs that the log did not have at some time, though their submit was acknowledged."""
    events: frozenset[str] = frozenset()
    """Jobs of which a consumer has an event that the log has not, and nobody said so."""
    twice: frozenset[str] = frozenset()
    """Jobs of which more than one prompt ran."""

    @property
    def silent(self) -> frozenset[str]:
        """Jobs that were lost without a word."""
        return (self.unknown - self.named) | self.events


async def known(log: Log, job_ids: Iterable[str]) -> set[str]:
    """Return those of the jobs that the log has."""
    found = set[str]()
    whole = list(job_ids)
    for start in range(0, len(whole), AT_ONCE):
        some = whole[start : start + AT_ONCE]
        answers = await log.redis.execute_all([("EXISTS", log.keys.head(job)) for job in some])
        found.update(job for job, answer in zip(some, answers, strict=True) if answer)
    return found


async def left(
    log: Log,
    told: Collection[str],
    seen: Mapping[tuple[str, int], str],
    ledgers: Iterable[Path],
    run: Collection[str],
) -> Left:
    """Count for one round; `run` are the jobs that were to run."""
    there = await known(log, told)
    losses = await lost_writes(log)
    named = {found.job_id for found in losses}
    whole = {found.job_id for found in losses if not found.found_seq}
    unlike = await _unlike(log, seen, run)
    return Left(
        unknown=frozenset(set(told) - there),
        named=frozenset(named & set(told)),
        put_back=frozenset(named & there),
        gone=frozenset((whole & set(told)) | (set(told) - there)),
        events=frozenset(unlike - named),
        twice=frozenset(ran_twice(ledgers) & set(run)),
    )


async def _unlike(log: Log, seen: Mapping[tuple[str, int], str], run: Collection[str]) -> set[str]:
    """Return the jobs of which an event was delivered that the log has not."""
    found = set[str]()
    for job_id in run:
        given = {event for (job, _), event in seen.items() if job == job_id}
        if given:
            records = await job_events(log, job_id) if await known(log, [job_id]) else []
            there = {r.event.id for r in records if not isinstance(r.event, Unreadable)}
            if given - there:
                found.add(job_id)
    return found


def ran_twice(ledgers: Iterable[Path]) -> set[str]:
    """Return the jobs of which more than one prompt was begun."""
    begun = Counter[str]()
    for ledger in ledgers:
        rows = [json.loads(line) for line in ledger.read_text().splitlines()]
        last = {row["row"]: row for row in rows}
        begun.update(
            row["extra_data"]["everfold"]["job_id"] for row in last.values() if row["started_at"]
        )
    return {job_id for job_id, count in begun.items() if count > 1}
