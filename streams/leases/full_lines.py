"""Which lines of waiting jobs are at a limit: one call asks about many, and leases none.

Rule: an answer holds for a moment. It serves to look further, and never says that a job may run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from everfold.streams.appending.log import Log
from everfold.streams.events.codec import reads
from everfold.streams.layout.limited_claims import claim_within_limits
from everfold.streams.queues.waiting_jobs import PassedOver, WaitingJob, WaitingPage
from everfold.streams.redis import scripts

LINES_ASKED = 128
"""Lines that are asked about at once: the server does nothing else for some milliseconds."""

TELLS_ONLY = -1
"""The place of a line of which claim.lua leases nothing."""


def to_ask(pages: Iterable[WaitingPage], passed_over: PassedOver) -> list[WaitingJob]:
    """Return the first job of each line that is not passed over, in their order."""
    return sorted(job for page in pages for job in page.firsts if job not in passed_over)


def passing_over(
    log: Log, queue: str, asked: Sequence[WaitingJob], passed_over: PassedOver
) -> Callable[[Sequence[int]], Awaitable[dict[int, None]]]:
    """Return a look at some partitions that notes which of these jobs' lines are at a limit."""

    async def look(partitions: Sequence[int]) -> dict[int, None]:
        jobs = [job for job in asked if job.partition in partitions]
        passed_over.note_full(await at_limit(log, queue, jobs))
        return dict.fromkeys(partitions)

    return look


async def at_limit(log: Log, queue: str, jobs: Sequence[WaitingJob]) -> list[WaitingJob]:
    """Return which of these jobs, each the first of its line, are at a limit.

    Their partitions are all on one server, or one is asked alone. Raises a leaf of Unavailable,
    without a retry.
    """
    if not jobs:
        return []
    partitions = list(dict.fromkeys(job.partition for job in jobs))
    keys = [key for p in partitions for key in (log.keys.log(p), log.keys.lines(p, queue))]

    async def ask(indexes: Sequence[int], granted: bytes | None) -> list[scripts.Reply]:
        asked = [jobs[index] for index in indexes]
        return await scripts.claim(
            log.redis,
            keys=keys,
            runner="",
            reads=reads(),
            queue=queue,
            wanted=[(partitions.index(job.partition), job.line, TELLS_ONLY) for job in asked],
            payloads=[b""] * len(asked),
            granted=granted,
        )

    reservations = log.spread.reservations
    found = await claim_within_limits(reservations, len(jobs), ask, tells_only=True)
    return [jobs[index] for index, _ in found]
