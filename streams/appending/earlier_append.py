"""Find an event that was appended long ago: a head remembers only the last ids of each author.

Rule: it costs as much as the job has events, and is asked only for an id that may have been
forgotten.
"""

from __future__ import annotations

from everfold.streams.appending.job_page import job_page
from everfold.streams.appending.outcomes import Appended, Looked
from everfold.streams.errors import EventIdForgotten
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.pipelining import PipeliningRedis


async def earlier_append(
    redis: PipeliningRedis, keys: Keyspace, job_id: str, event_id: str, after_seq: int
) -> Appended | Looked:
    """Return where the job's event with this id is, or up to which seq no event has the id.

    Events up to `after_seq` are not looked at. Raises EventIdForgotten where the log no longer
    has them all, a leaf of Unavailable.
    """
    at, newest_seq = "", after_seq
    while True:
        page = await job_page(redis, keys, job_id, at, after_seq)
        for record in page.events:
            if getattr(record.event, "id", None) == event_id:
                return Appended(record.seq, record.entry_id, duplicate=True)
            newest_seq = max(newest_seq, record.seq)
        if page.outcome in (b"trimmed", b"strange"):
            raise EventIdForgotten(job_id, event_id)
        if page.outcome == b"unknown" or not page.following:
            return Looked(newest_seq)
        at = page.following
