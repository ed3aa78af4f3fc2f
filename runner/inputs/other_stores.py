"""Whether another runner may have the files that this one's store lacks.

Rule: the registry alone says it. A path on another machine is taken for another place,
also where both are one network disk: who waits for such a place, waits within a bound.
"""

from __future__ import annotations

from collections.abc import Iterable

from everfold.streams.appending.log import Log
from everfold.streams.leases.registry import LATELY_S, RunnerEntry, place_on, registered_runners
from everfold.streams.redis.server import server_time_ms


async def other_place(log: Log, runner: str) -> str:
    """Return where another living runner stores files, empty where all use the place of `runner`.

    Raises a leaf of Unavailable.
    """
    entries = await registered_runners(log)
    return first_other(entries.values(), runner, await server_time_ms(log.redis))


def first_other(entries: Iterable[RunnerEntry], runner: str, now_ms: int) -> str:
    """Return the place of a runner that was seen lately, other than that of `runner`."""
    oldest_ms = now_ms - int(LATELY_S * 1000)
    by_name = {one.runner: one for one in entries}
    own = _place(by_name.get(runner))
    others = [_place(one) for one in by_name.values() if one.seen_ms >= oldest_ms]
    return next((place for place in sorted(others) if place not in ("", own)), "")


def _place(entry: RunnerEntry | None) -> str:
    return place_on(entry.assets, entry.host) if entry is not None and entry.assets else ""
