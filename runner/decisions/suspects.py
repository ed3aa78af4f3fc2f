"""Which runners are taken for dead because their connections are gone.

Rule: pure; time is an argument. Missing once may be a reconnect: only who is missing in every
look for a whole `after_s` is dead.
"""

from __future__ import annotations

from collections.abc import Collection

from everfold.streams.redis.keys import connection_name


class Suspects:
    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._missing_since_s: dict[str, float] = {}

    def dead(
        self, runners: Collection[str], connections: Collection[str], now_s: float
    ) -> list[str]:
        """Take in one look and return the runners that are dead by now."""
        missing = {runner for runner in runners if connection_name(runner) not in connections}
        self._missing_since_s = {
            runner: self._missing_since_s.get(runner, now_s) for runner in missing
        }
        return sorted(
            runner
            for runner, since_s in self._missing_since_s.items()
            if now_s - since_s >= self._after_s
        )

    def forget(self, runner: str | None = None) -> None:
        """Begin anew with one runner, or with all: the server itself was away."""
        if runner is None:
            self._missing_since_s.clear()
        else:
            self._missing_since_s.pop(runner, None)
