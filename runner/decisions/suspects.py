"""Which runners are dead because their connections are gone.

Rule: pure; time is an argument. A runner that is missing once may be reconnecting: only one that
is missing in every look for `after_s` seconds is dead.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from everfold.streams.redis.keys import connection_name


class Suspects:
    """Since when each registered runner has had no connection."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._missing_since_s: dict[str, float] = {}

    def dead(
        self, runners: Collection[str], connections: Collection[str], now_s: float
    ) -> list[str]:
        """Note one look at the server and return the dead runners, sorted by name.

        `connections` are the client names that the server lists, `now_s` the seconds of any
        steady clock. A runner that is dead stays so in every later look without it.
        """
        missing = {runner for runner in runners if connection_name(runner) not in connections}
        self._missing_since_s = {
            runner: self._missing_since_s.get(runner, now_s) for runner in missing
        }
        return sorted(
            runner
            for runner, since_s in self._missing_since_s.items()
            if now_s - since_s >= self._after_s
        )

    def next_in_s(self, now_s: float) -> float:
        """Return in how many seconds the next runner will be dead if it stays missing; inf if
        none is missing that is not dead yet."""
        left_s = (since_s + self._after_s - now_s for since_s in self._missing_since_s.values())
        return min((s for s in left_s if s > 0), default=math.inf)

    def forget(self, runner: str | None = None) -> None:
        """Forget since when this runner is missing; without a name, that of every runner."""
        if runner is None:
            self._missing_since_s.clear()
        else:
            self._missing_since_s.pop(runner, None)
