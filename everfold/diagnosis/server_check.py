"""What `everfold doctor` says of the server: what it loses, its memory, its disk, its clock."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast
from urllib.parse import urlsplit

from everfold.diagnosis.finding import Finding
from everfold.diagnosis.layout_check import layout_check
from everfold.health.asking_server import server_facts
from everfold.health.server_findings import server_findings
from everfold.streams.appending.log import Log
from everfold.streams.errors import OUTAGES, EverfoldError, Unavailable
from everfold.streams.redis.access import may_send
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms, server_version

CLOCK_LIMIT_S = 2.0
"""Clocks that differ by more are set wrong: times of jobs, and what is removed, go by them."""

DISK_LIMIT = 0.1
"""Share of a disk that is to be free."""

BRING_BACK = "bring it back, or let a replica take over: what lies there stands still"

HERE = ("", "localhost", "127.0.0.1", "::1")


async def server_check(log: Log) -> AsyncIterator[Finding]:
    """Yield a finding for each thing of the server. Raises one of OUTAGES."""
    yield Finding("server", f"{await server_version(log.redis)} at {log.url}")
    primaries, expected = log.redis.primaries(), _expected(log)
    for primary in primaries:
        of = f" of {primary.name}" if len(primaries) > 1 else ""
        asked, living = log.replicas.count, expected.get(primary.name, 0)
        try:
            await server_time_ms(primary)  # what refuses INFO alone is no trouble
            facts = await server_facts(primary)
        except OUTAGES as error:
            if len(primaries) < 2:
                raise
            yield Finding(f"server {primary.name}", f"cannot be looked at: {error}", BRING_BACK)
            continue
        for one in server_findings(facts, asked, living):
            yield Finding(f"{one.what}{of}", one.found, one.advice)
    async for one_more in layout_check(log):
        yield one_more
    yield clock(await apart_s(log))
    if (finding := _disk_of(await _local_folder(log))) is not None:
        yield finding


def _expected(log: Log) -> dict[str, int]:
    """Return primary -> replicas of which one must have an intent before its prompt is sent."""
    if not (log.replicas.intents and log.redis.knows_replicas):
        return {}
    found = dict[str, int]()
    for partition in range(log.keys.partitions):
        name = log.keys.log(partition)
        with suppress(Unavailable):
            found[log.redis.at(name).name] = log.redis.replicas_of(name)
    return found


async def apart_s(log: Log) -> float:
    """Return by how much the server's clock is ahead of this machine's, in seconds; what the
    question took is not counted."""
    before = time.time()
    server_s = await server_time_ms(log.redis) / 1000
    after = time.time()
    return 0.0 if before <= server_s <= after else server_s - (before + after) / 2


def clock(ahead_s: float) -> Finding:
    """Judge by how much the server's clock is ahead."""
    if abs(ahead_s) <= CLOCK_LIMIT_S:
        return Finding("clock", f"as this machine's, to {abs(ahead_s):.1f} s")
    side = "ahead of" if ahead_s > 0 else "behind"
    found = f"the server's is {abs(ahead_s):,.0f} s {side} this machine's"
    return Finding("clock", found, "set the wrong one, and let NTP keep both")


def disk(free: int, total: int) -> Finding:
    """Judge the disk of the server's files."""
    share = free / total if total > 0 else 1.0
    found = f"{share:.0%} free ({free / 2**30:,.1f} GiB)"
    advice = "make room: a full disk stops all writes" if share < DISK_LIMIT else ""
    return Finding("disk", found, advice)


def _disk_of(folder: str) -> Finding | None:
    """Judge the disk of a folder, None where there is none here."""
    try:
        usage = shutil.disk_usage(folder)
    except (OSError, ValueError):
        return None
    return disk(usage.free, usage.total)


async def _local_folder(log: Log) -> str:
    """Return the folder of the server's files where it may be on this machine, else ""."""
    parts = urlsplit(log.url.reveal())
    if parts.scheme != "unix" and (parts.hostname or "") not in HERE:
        return ""
    try:
        if not await may_send(log.redis, "CONFIG", "GET", "dir"):
            return ""  # most users may not ask
        flat = cast("list[bytes]", await command(log.redis, "CONFIG GET", "dir"))
        return flat[1].decode()
    except (EverfoldError, IndexError, AttributeError, UnicodeDecodeError):
        return ""
