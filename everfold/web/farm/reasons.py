"""Why jobs wait, counted: jobs of one line can be taken, or cannot, together, so one is asked of.

Rule: LINES_LIMIT lines are asked of, the longest first, however many jobs and lines there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from everfold.client import Everfold
from everfold.metrics.queue_numbers import QueueNumbers
from everfold.streams.appending.log import Log
from everfold.streams.errors import EverfoldError
from everfold.streams.queues.waiting_jobs import peek_all
from everfold.streams.redis.redis_errors import commands
from everfold.web.farm.members import WaitReason
from everfold.why.reason import Why

QUEUES_LIMIT = 20
"""Queues in which lines are looked at, those with the most waiting jobs."""
LINES_LIMIT = 20
LATER = "it waits for its time"
TURN = "all servers are busy, or are about to take the next job"

_TURN = ("behind_others", "next")


async def reasons_of(
    everfold: Everfold, queues: Mapping[str, QueueNumbers], later: int
) -> list[WaitReason]:
    """Return why the waiting jobs wait, the reason of most of them first.

    Raises a leaf of Unavailable.
    """
    waiting = {name: sum(one.waiting) for name, one in queues.items() if sum(one.waiting)}
    asked = sorted(waiting, key=lambda name: -waiting[name])[:QUEUES_LIMIT]
    found = list[WaitReason]()
    for queue in asked:
        lines = await _lines(everfold.log, queue) if not queues[queue].is_paused else {}
        told = 0
        for job_id, jobs in sorted(lines.values(), key=lambda line: -line[1])[:LINES_LIMIT]:
            reason = await _reason(everfold, job_id, jobs)
            if reason is not None:
                found.append(reason)
                told += jobs
        if (rest := waiting[queue] - told) > 0:
            found.append(_unasked(queues[queue], rest))
    if later:
        found.append(WaitReason(code="later", reason=LATER, jobs=later, queue="", job_id=""))
    return joined(found)


async def reasons_of_jobs(
    everfold: Everfold, groups: Mapping[tuple[str, str], Sequence[str]]
) -> list[WaitReason]:
    """Return why groups of waiting jobs wait, by the first of each. Raises as `reasons_of`."""
    found = list[WaitReason]()
    for _, job_ids in sorted(groups.items(), key=lambda group: -len(group[1]))[:LINES_LIMIT]:
        reason = await _reason(everfold, job_ids[0], len(job_ids))
        if reason is not None:
            found.append(reason)
    return joined(found)


def joined(reasons: Sequence[WaitReason]) -> list[WaitReason]:
    """Return the reasons, those of one sentence counted together, most jobs first."""
    counts, firsts = Counter[tuple[str, str]](), dict[tuple[str, str], WaitReason]()
    for one in reasons:
        key = (one.code, one.reason)
        counts[key] += one.jobs
        firsts.setdefault(key, one)
    return [
        WaitReason(code=code, reason=text, jobs=jobs, queue=first.queue, job_id=first.job_id)
        for (code, text), jobs in counts.most_common()
        for first in (firsts[code, text],)
    ]


async def _lines(log: Log, queue: str) -> dict[str, tuple[str, int]]:
    """Return line -> a job that stands first in it, and how many stand there, in all partitions."""
    pages = await peek_all(log, range(log.keys.partitions), queue, each=1)
    firsts = [job for page in pages for job in page.jobs]
    asked = [("ZCARD", log.keys.line(job.partition, queue, job.line)) for job in firsts]
    found = dict[str, tuple[str, int]]()
    counts = cast("list[int]", await commands(log.redis, asked))
    for job, count in zip(firsts, counts, strict=True):
        first, before = found.get(job.line, (job.job_id, 0))
        found[job.line] = (first, before + count)
    return found


async def _reason(everfold: Everfold, job_id: str, jobs: int) -> WaitReason | None:
    """Return the reason of one job for all that stand with it; None where it waits no more."""
    try:
        why = await everfold.why(job_id)
        job = await everfold.get(job_id)
    except EverfoldError:
        return None
    if job.is_terminal or job.owner:
        return None
    text = TURN if why.code in _TURN else _without_seconds(why)
    return WaitReason(code=why.code, reason=text, jobs=jobs, queue=job.queue, job_id=job_id)


def _without_seconds(why: Why) -> str:
    """Return a sentence that stays the same while time goes by."""
    return LATER if why.code in ("retry", "not_before") else why.sentence


def _unasked(queue: QueueNumbers, jobs: int) -> WaitReason:
    if queue.is_paused:
        code, reason = "queue_paused", f"queue {queue.name} is paused"
    else:
        code, reason = "behind_others", TURN
    return WaitReason(code=code, reason=reason, jobs=jobs, queue=queue.name, job_id="")
