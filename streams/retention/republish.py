"""Publish recorded events once more, into another namespace.

Rule: the events' own bytes, job ids, sequence numbers and epochs stay; entry ids and therefore
times are new. Nobody runs these jobs: they have no dispatch entry and no lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import WrongExpectedSequence
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import closing_status
from everfold.streams.events.record import Recorded
from everfold.streams.redis.script import Script

_republish = Script("everfold.streams", "republish")


async def republish(log: Log, records: Sequence[Recorded]) -> None:
    """Append records to the log, each job's in order and from its first on.

    Raises WrongExpectedSequence where a job does not go on with its record: the batch is written
    up to there. Raises a leaf of Unavailable: then some may have been written already.
    """
    by_partition: dict[int, list[Recorded]] = {}
    for record in records:
        by_partition.setdefault(log.keys.partition_of(record.job_id), []).append(record)
    for partition, batch in by_partition.items():
        arguments: list[Argument] = [log.keys.tag(partition)]
        for record in batch:
            fields = (record.job_id, record.seq, record.epoch, _status(record), record.payload)
            arguments += fields
        reply = await _republish.run(log.redis, (log.keys.log(partition),), arguments)
        if reply[0] == b"conflict":
            job_id, seq = cast("bytes", reply[1]).decode(), cast("int", reply[2])
            wanted = next(r.seq for r in batch if r.job_id == job_id and r.seq != seq + 1)
            raise WrongExpectedSequence(job_id, wanted - 1, seq)


def _status(record: Recorded) -> str:
    if isinstance(record.event, Unreadable):
        return "open"
    return closing_status(record.event) or "open"
