"""`everfold audit replay`: publishes recorded events once more, in their order and rhythm."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import anyio
import msgspec

from everfold.archives.opening import known_archive
from everfold.archives.selection import Selection, is_of_newest, needed_job
from everfold.commands.formats import event_object
from everfold.commands.new_file import new_file
from everfold.commands.options import ArchiveUrl, OnlyJob, SubmittedSince, SubmittedUntil, User
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.streams.appending.log import Log
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.events.ranges import check_number
from everfold.streams.events.record import Recorded
from everfold.streams.retention.history import all_history, begun_again
from everfold.streams.retention.republish import republish

BATCH = 500


async def replay(
    *,
    to: str,
    speed: str = "max",
    since: SubmittedSince = None,
    until: SubmittedUntil = None,
    job: OnlyJob = None,
    user: User = None,
    into_live: bool = False,
    archive: ArchiveUrl = "",
    session: Session = DEFAULT,
) -> int:
    """Publish recorded events into another namespace, or a file of JSON lines.

    All events of the chosen jobs are published, into a namespace those of the newest job of each
    id. No runner runs these jobs again.

    Parameters
    ----------
    to
        A namespace on the same server, or a file: a name that ends in .jsonl.
    speed
        1x for the rhythm in which it happened, 10x for ten times as fast (from 0.001 to 1,000,000),
        max for at once.
    into_live
        Allow the namespace that is read from as the target.
    """
    if to == session.namespace and not into_live:
        raise Misconfigured(
            f"{to!r} is the namespace that is read from; replaying into it repeats its events: "
            "name another one, or add --into-live"
        )
    factor = _factor(speed)
    is_file = to.endswith(".jsonl")
    async with session.log(role="auditor" if is_file else None) as log:
        kept = await known_archive(log, archive)
        wanted = Selection(since, until, await needed_job(log, job, kept), user)
        again: Mapping[str, str] = {}
        if kept and not is_file:  # A log by itself has one job of an id.
            again = await begun_again(_chosen(all_history(log, kept), wanted.anew()))
        records = _paced(_chosen(all_history(log, kept), wanted, again), factor)
        with event_progress("replay", session) as progress:
            if is_file:
                count = await _to_file(records, Path(to), progress)
            else:
                count = await _to_namespace(records, log, to, progress)
    session.tell({"events": count, "to": to}, f"{count:,} events replayed to {to}")
    return 0


def _factor(speed: str) -> float:
    """Return how many times as fast as it happened, 0 for at once. Raises InvalidName."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)x", speed)
    if speed != "max" and found is None:
        raise InvalidName("--speed", speed, "use 1x, 10x or max")
    factor = float(found[1]) if found else 0.0
    if found:
        check_number("--speed", factor, "speed")
    return factor


async def _chosen(
    records: AsyncIterator[Recorded], wanted: Selection, again: Mapping[str, str] | None = None
) -> AsyncIterator[Recorded]:
    async for record in records:
        if wanted.takes(record) and is_of_newest(record, again or {}):
            yield record


async def _paced(records: AsyncIterator[Recorded], factor: float) -> AsyncIterator[list[Recorded]]:
    """Yield batches: full ones at full speed, else the events that are due."""
    batch: list[Recorded] = []
    started_s, first_ms = anyio.current_time(), 0
    async for record in records:
        first_ms = first_ms or record.time_ms
        due_s = started_s + (record.time_ms - first_ms) / 1000 / factor if factor else 0.0
        if len(batch) == BATCH or (batch and due_s > anyio.current_time()):
            yield batch
            batch = []
        if factor:
            await anyio.sleep(max(0.0, due_s - anyio.current_time()))
        batch.append(record)
    if batch:
        yield batch


async def _to_file(
    batches: AsyncIterator[list[Recorded]], path: Path, progress: Callable[[int, int], None]
) -> int:
    """Write one line for each event. Raises Misconfigured."""
    count = 0
    with new_file(path) as part:
        async with await anyio.open_file(part, "wb") as file:
            async for batch in batches:
                lines = (msgspec.json.encode(event_object(record)) for record in batch)
                await file.write(b"\n".join(lines) + b"\n")
                count += len(batch)
                progress(count, count)
    return count


async def _to_namespace(
    batches: AsyncIterator[list[Recorded]], log: Log, to: str, progress: Callable[[int, int], None]
) -> int:
    count = 0
    partitions = log.keys.partitions
    async with Log.open(log.url, namespace=to, partitions=partitions, actor="replay") as target:
        async for batch in batches:
            await republish(target, batch)
            count += len(batch)
            progress(count, count)
    return count
