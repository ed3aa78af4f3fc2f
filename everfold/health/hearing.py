"""Asks Redis whether a process was heard of lately; nothing is written."""

from __future__ import annotations

import re
import socket

from everfold.health.asking import Health
from everfold.streams.appending.log import Log
from everfold.streams.leases.registry import ProcessEntry, RunnerEntry, silence_s
from everfold.streams.redis.pages import read_readable_hash
from everfold.streams.redis.server import server_time_ms

HEARD_WITHIN_S = 15.0
"""Runners write every 2 s, other processes every few seconds."""

_END = re.compile(r"(-\d+-[0-9a-f]{16})?(-[0-9a-f]{6})?")
"""What a process start adds to its name, and what it adds for each group of readers."""


async def heard_of(log: Log, runner: str = "", process: str = "") -> Health:
    """Say whether processes were heard of lately: those of a name, else all of this machine.

    A name is whole, or all that stands before the `-` of its random end. Raises a leaf of
    Unavailable.
    """
    found = dict[str, int]()
    host, nobody = socket.gethostname(), not runner and not process
    if runner or nobody:
        runners = await read_readable_hash(log.redis, log.keys.runners(), RunnerEntry)
        for name, one in runners.items():
            if _is_named(name, runner) if runner else one.host == host:
                found[name] = one.seen_ms
    if process or nobody:
        others = await read_readable_hash(log.redis, log.keys.processes(), ProcessEntry)
        for name, entry in others.items():
            if _is_named(name, process) if process else entry.host == host:
                found[name] = entry.seen_ms
    what = f"runner {runner}" if runner else f"process {process}" if process else f"host {host}"
    if not found:
        return Health(is_healthy=False, what=what, found="nothing was heard of it")
    now_ms = await server_time_ms(log.redis)
    # The newest start counts: what was killed before leaves its entry for a while.
    silent_s, name = min((silence_s(seen_ms, now_ms), name) for name, seen_ms in found.items())
    told = f"{name} was heard of {silent_s:.0f} s ago"
    return Health(is_healthy=silent_s <= HEARD_WITHIN_S, what=what, found=told)


def _is_named(name: str, wanted: str) -> bool:
    return name.startswith(wanted) and _END.fullmatch(name, len(wanted)) is not None
