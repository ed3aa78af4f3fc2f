"""How many jobs run of what is limited, and how many may."""

from __future__ import annotations

from collections.abc import Iterable

from everfold.streams.appending.log import Log
from everfold.streams.queues.limits import EVERY, limits
from everfold.streams.queues.queue_counts import count_running
from everfold.why.reason import Count


async def running_counts(log: Log, named: Iterable[tuple[str, str]]) -> list[Count]:
    """Return the count of each (scope, name) that has a limit of running jobs, its own or that of
    every name. Raises a leaf of Unavailable."""
    stored = {f"{one.scope} {one.name}": one.number for one in await limits(log)
              if one.what == "running"}  # fmt: skip
    limited = list[tuple[str, str, float]]()
    for scope, name in named:
        limit = stored.get(f"{scope} {name}", stored.get(f"{scope} {EVERY}"))
        if name and limit is not None:
            limited.append((scope, name, limit))
    counts = await count_running(log, [(scope, name) for scope, name, _ in limited])
    return [
        Count(scope, name, count, int(limit))
        for (scope, name, limit), count in zip(limited, counts, strict=True)
    ]
