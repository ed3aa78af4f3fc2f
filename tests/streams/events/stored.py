"""What the server holds of a namespace with one partition and the queue `default`, as values."""

from __future__ import annotations

from typing import cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.connections.replies import NoGroup
from everfold.streams.redis import scripts
from everfold.streams.redis.keys import PRIORITIES, RUNNERS_GROUP
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.script import Script
from tests.support.stored_names import names_of


class Stored(Struct, frozen=True):
    """Everything but the log itself."""

    head: dict[str, str]
    """The job's head, empty when there is none."""
    dispatch: dict[str, str]
    """Dispatch entry id -> job. In front of the id stands the priority where it is not normal:
    ids are unique in one stream only."""
    pending: dict[str, str]
    """Dispatch entry id -> consumer that holds it."""
    waiting: dict[str, int]
    """Job -> place."""
    later: dict[str, int]
    """Job -> due time, Unix ms."""
    deadlines: dict[str, int]
    graphs: dict[str, int]
    """SHA-256 -> open jobs that need the graph."""

    @property
    def places(self) -> int:
        """How often jobs stand in dispatch, waiting or later."""
        return len(self.dispatch) + len(self.waiting) + len(self.later)


async def stored(log: Log, job_id: str = "") -> Stored:
    redis, keys = log.redis, log.keys
    dispatch: dict[str, str] = {}
    pending: dict[str, str] = {}
    for priority in PRIORITIES:
        key = keys.dispatch(0, "default", priority)
        rows = cast(
            "list[tuple[bytes, list[bytes]]]", await command(redis, "XRANGE", key, "-", "+")
        )
        prefix = "" if priority == "normal" else f"{priority} "
        dispatch |= {
            prefix + dispatch_id.decode(): fields[1].decode() for dispatch_id, fields in rows
        }
        pending |= {
            prefix + dispatch_id: by for dispatch_id, by in (await _pending(log, key)).items()
        }
    head = await read_hash(redis, keys.head(job_id))
    graphs = await read_hash(redis, keys.workflows(0))
    return Stored(
        head={name.decode(): value.decode() for name, value in head.items()},
        dispatch=dispatch,
        pending=pending,
        waiting=await _scores(log, keys.waiting(0, "default")),
        later=await _scores(log, keys.later(0)),
        deadlines=await _scores(log, keys.deadlines(0)),
        graphs={sha.decode(): int(count) for sha, count in graphs.items()},
    )


async def _pending(log: Log, key: str) -> dict[str, str]:
    try:
        reply = await command(log.redis, "XPENDING", key, RUNNERS_GROUP, "-", "+", 10_000)
    except NoGroup:
        return {}
    rows = cast("list[list[bytes]]", reply)
    return {row[0].decode(): row[1].decode() for row in rows}


async def _scores(log: Log, key: str) -> dict[str, int]:
    flat = cast("list[bytes]", await command(log.redis, "ZRANGE", key, 0, -1, "WITHSCORES"))
    return {
        job.decode(): int(float(score)) for job, score in zip(flat[::2], flat[1::2], strict=True)
    }


async def load_scripts(log: Log) -> None:
    """Make the server know all scripts: the first reply of an unknown one is only NOSCRIPT, and
    to lose that one loses nothing."""
    found = [value for value in vars(scripts).values() if isinstance(value, Script)]
    assert len(found) > 9
    for script in found:
        for node in log.redis.primaries():
            await command(node, "SCRIPT LOAD", script.source)


async def everything(log: Log) -> dict[bytes, object]:
    """Return each key of the namespace with its value, as DUMP writes it.

    Left out is what every process notes of its servers now and then.
    """
    keys, noted = await names_of(log.redis, log.keys.namespace), log.keys.servers().encode()
    return {key: await command(log.redis, "DUMP", key.decode()) for key in keys if key != noted}
