"""Finds the job that a part of its id stands for: its beginning or its end.

Rule: the index is asked, never all jobs. An id that is whole stands for itself, whatever there is.
"""

from __future__ import annotations

from functools import partial
from typing import cast

from everfold.projector.reading.queries import get
from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import CorruptLog, InvalidName, JobUnknown, PartitionsUnavailable
from everfold.streams.events.checks import check_job
from everfold.streams.redis.each import GRACE_S, each
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.server import server_time_ms

WHOLE = 36
"""Characters of a whole id that Everfold has made. Ids of callers may be shorter."""

LEAST = 4
"""Characters of an id that may stand for it."""

SHOWN = 8
"""Jobs that an error names where several have such an id."""


async def find_job_id(log: Log, text: str) -> str:
    """Return the id of the one job whose id is this text, begins or ends with it.

    Jobs whose states are kept are found, by an index that `everfold projector rebuild` makes in
    an old namespace. Returns the text itself where there is none. Raises InvalidName for a text
    of fewer than 4 characters, or one that several jobs fit, which it names; PartitionsUnavailable
    with the jobs that are known where some partitions do not answer, another leaf of Unavailable.
    """
    if len(check_job(text)) >= WHOLE:
        return text
    own = log.keys.partition_of(text)  # raises for a text that is none, as a command line may hold
    outcomes = await each(log, partial(_asked, log, text, own), grace_s=GRACE_S)
    found = sorted(set[str]().union(*outcomes.values.values()))
    if text in found:
        return text
    if (failure := outcomes.failure) is not None:
        if isinstance(failure, PartitionsUnavailable) and found:
            known = f"{failure.why}; known of {text!r}: {', '.join(found[:SHOWN])}"
            raise PartitionsUnavailable(failure.partitions, f"{known}; give a whole id")
        raise failure
    if len(text) < LEAST:
        rule = f"give at least {LEAST} characters, of its beginning or its end"
        raise InvalidName("job id", text, rule)
    if len(found) > 1:
        lines = [await _line(log, job_id) for job_id in found[:SHOWN]]
        more = [] if len(found) <= SHOWN else ["and more"]
        listed = "\n".join(["several jobs have it, give more characters:", *lines, *more])
        raise InvalidName("job id", text, listed)
    return found[0] if found else text


async def _asked(log: Log, text: str, own: int, partition: int) -> set[str]:
    """Return what a partition has of such an id: the job itself, or those that the part fits."""
    asked: list[tuple[Argument, ...]] = []
    for part in (b"#" + text.encode(), b"$" + text.encode()[::-1]) if len(text) >= LEAST else ():
        key = log.keys.jobs(partition).index()
        last = b"(" + part[:-1] + bytes([part[-1] + 1])
        asked.append(("ZRANGEBYLEX", key, b"[" + part, last, "LIMIT", 0, SHOWN + 1))
    is_its = partition == own
    if is_its:
        asked.append(("HGET", log.keys.head(text), "seq"))
    if not asked:
        return set()
    replies = await with_retry(partial(commands, log.redis, asked), log.retry_for_s)
    if is_its and replies.pop() is not None:
        return {text}
    members = [member for reply in cast("list[list[bytes]]", replies) for member in reply]
    found = {m[1:] if m.startswith(b"#") else m[:0:-1] for m in members}
    return {job_id.decode(errors="replace") for job_id in found}


async def _line(log: Log, job_id: str) -> str:
    """Return a job with its status and age."""
    try:
        job = await get(log, job_id)
    except (CorruptLog, JobUnknown):
        return f"{job_id} cannot be read"
    age_s = max(0, await server_time_ms(log.redis) - job.submitted_at_ms) / 1000
    return f"{job_id} {job.status}, submitted {age_s:,.0f} s ago"
