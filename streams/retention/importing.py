"""Import a history that was exported into an empty namespace, with its entry ids.

Rule: it may be interrupted and repeated. Open jobs wait for a runner only when everything is there;
the runner that claims one asks its backend first, as after any death of a runner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

import msgspec

from everfold.streams.appending.graph_assets import note_graph_assets
from everfold.streams.appending.job_input import opened_needs
from everfold.streams.appending.log import Log
from everfold.streams.archive.segment import records_of
from everfold.streams.errors import Refused
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import (
    AssetInput,
    CancelRequested,
    Recovered,
    Submitted,
    closing_status,
)
from everfold.streams.events.record import RawEntry, Recorded
from everfold.streams.reading.reader import log_size
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.namespace import IMPORTING, read_importing
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.script import Script

_import_entries = Script("everfold.streams", "import_entries")
_reopen = Script("everfold.streams", "reopen")
KEPT_S = 7 * 86_400
"""Seconds for which a graph is there without an open job."""

_pack = msgspec.msgpack.Encoder().encode


async def begin_import(log: Log, sha256: str) -> None:
    """Record that the export file with this checksum is being imported, or go on with it.

    Raises Refused for a namespace that holds anything else, a leaf of Unavailable.
    """
    under_way = await read_importing(log.redis, log.keys)
    if under_way == sha256.encode():
        return
    for partition in range(log.keys.partitions):
        gone = await trimmed_to(log, partition)
        if under_way or gone.count or await log_size(log, partition):
            raise Refused(
                f"the namespace {log.keys.namespace!r} is not empty: import into a new one "
                "(--namespace NAME)"
            )
    await command(log.redis, "HSETNX", log.keys.meta(), IMPORTING, sha256)
    if await read_importing(log.redis, log.keys) != sha256.encode():
        raise Refused(f"another file is being imported into {log.keys.namespace!r}")


async def import_entries(log: Log, partition: int, entries: Sequence[RawEntry]) -> int:
    """Add a page of entries with their ids, in order; return how many were new.

    Raises Refused where the partition has other entries, a leaf of Unavailable; then it may be
    repeated.
    """
    heads: dict[str, dict[str, str]] = {}
    for record in records_of(entries):
        if record.job_id:
            heads.setdefault(record.job_id, {}).update(_head(record))
    reply = await _import_entries.run(
        log.redis,
        (log.keys.log(partition),),
        (
            log.keys.tag(partition),
            _pack([(job_id, _flat(head)) for job_id, head in heads.items()]),
            *(value for entry_id, flat in entries for value in (entry_id, *flat[1::2])),
        ),
    )
    if reply[0] == b"odd":
        entry_id = cast("bytes", reply[1]).decode()
        raise Refused(f"partition {partition}: entry {entry_id} of the file is not in order")
    if reply[0] == b"stale":
        entry_id = cast("bytes", reply[1]).decode()
        raise Refused(f"partition {partition} has other entries than the file, see {entry_id}")
    return cast("int", reply[1])


def _head(record: Recorded) -> dict[str, str]:
    """Return what an event changes in its job's head."""
    event = record.event
    fields = {"seq": str(record.seq), "epoch": str(record.epoch), "last": record.entry_id}
    if isinstance(event, Submitted):
        fields |= {"first": record.entry_id, "status": "open", "phase": "imported", "owner": ""}
        fields |= {"workflow": event.stored, "queue": event.queue, "priority": event.priority}
        fields |= {"made_by": event.id, "recent": "", "dispatch": ""}
        fields |= {"user": event.user, "kind": event.kind}
    if isinstance(event, Recovered):
        fields["crashes"] = str(event.crashes)
    if isinstance(event, CancelRequested):
        fields["cancel"] = f"{record.seq} {record.entry_id}"
    if not isinstance(event, Unreadable) and (status := closing_status(event)):
        fields |= {"status": status, "phase": "closed"}
    return fields


def _flat(head: dict[str, str]) -> list[str]:
    return [text for pair in head.items() for text in pair]


async def reopen(
    log: Log,
    job_id: str,
    graph: bytes | None,
    run_at_ms: int,
    labels: Collection[str] = (),
    inputs: Mapping[str, AssetInput] | None = None,
    start_by_ms: int = 0,
) -> bool:
    """Let an imported open job wait for a runner, until `run_at_ms` (Unix ms, 0 = at once).

    It goes behind those that wait already. `graph` is its workflow's JSON; None when that is lost:
    the job will fail for it. The bytes of its `inputs` stay as long as it is open. From
    `start_by_ms` on it is ended while it waits, as its deadline or its cancel says. False when the
    job waits already or has ended. Raises a leaf of Unavailable.
    """
    keys, partition = log.keys, log.keys.partition_of(job_id)
    needs = (await opened_needs(log, graph, labels)).signature
    stored = await read_hash(log.redis, keys.head(job_id))
    head = {name.decode(): value.decode() for name, value in stored.items()}
    if inputs:
        await note_graph_assets(log.redis, keys, partition, head["workflow"], inputs)
    reply = await _reopen.run(
        log.redis,
        (
            keys.head(job_id),
            keys.workflow(partition, head["workflow"]),
            keys.workflows(partition),
            keys.later(partition),
            keys.queues(partition),
            keys.deadlines(partition),
        ),
        (
            *(job_id, head["workflow"], graph or b"", head["queue"], run_at_ms, needs),
            *(start_by_ms, await _taken_place(log, head)),
        ),
    )
    return reply[0] == b"reopened"


async def _taken_place(log: Log, head: Mapping[str, str]) -> str:
    """Take a place in the order of a spread namespace for a job that is imported."""
    if not log.keys.is_spread or head.get("phase") != "imported":
        return ""
    return await log.spread.places.take(head["queue"], head["priority"], head["user"])


async def keep_graph(log: Log, job_id: str, sha256: str, graph: bytes) -> None:
    """Keep a graph for an imported job until it is reopened, KEPT_S seconds at most.

    Raises a leaf of Unavailable.
    """
    key = log.keys.workflow(log.keys.partition_of(job_id), sha256)
    await command(log.redis, "SET", key, graph, "NX", "PX", KEPT_S * 1000)


async def end_import(log: Log) -> None:
    """Note that the import is complete. Raises a leaf of Unavailable."""
    await command(log.redis, "HDEL", log.keys.meta(), IMPORTING)
