"""Find an event that was appended long ago: a head remembers only the last ids of each author.

Rule: it costs as much as the job has events, and is asked only for an id that may have been
forgotten.
"""

from __future__ import annotations

from typing import cast

from everfold.streams.appending.outcomes import Appended, Looked
from everfold.streams.errors import EventIdForgotten
from everfold.streams.events.record import recorded
from everfold.streams.redis import scripts
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.pages import PAGE, PAGE_BYTES
from everfold.streams.redis.pipelining import PipeliningRedis


async def earlier_append(
    redis: PipeliningRedis, keys: Keyspace, job_id: str, event_id: str, after_seq: int
) -> Appended | Looked:
    """Return where the job's event with this id is, or up to which seq no event has the id.

    Events up to `after_seq` are not looked at. Raises EventIdForgotten where the log no longer
    has them all, a leaf of Unavailable.
    """
    at, newest_seq = "", after_seq
    log, head = keys.log(keys.partition_of(job_id)), keys.head(job_id)
    while True:
        reply = await scripts.read_job(
            redis,
            log=log,
            head=head,
            job_id=job_id,
            at=at,
            after_seq=after_seq,
            most=PAGE,
            most_bytes=PAGE_BYTES,
        )
        for entry_id, flat in cast("list[tuple[bytes, list[bytes]]]", reply[2:]):
            record = recorded(entry_id, flat)
            if getattr(record.event, "id", None) == event_id:
                return Appended(record.seq, record.entry_id, duplicate=True)
            newest_seq = max(newest_seq, record.seq)
        if reply[0] in (b"trimmed", b"strange"):
            raise EventIdForgotten(job_id, event_id)
        if reply[0] == b"unknown" or not reply[1]:
            return Looked(newest_seq)
        at = cast("bytes", reply[1]).decode()
