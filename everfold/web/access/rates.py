"""How often something may happen: token buckets.

Rule: pure; the caller says what time it is. A bucket counts what one gateway sees: with several
gateways a client that uses all of them has as many buckets.
"""

from __future__ import annotations

import math


class Bucket:
    """Lets `per_s` tokens a second through, and `at_once` of them after a rest."""

    def __init__(self, per_s: float, at_once: float) -> None:
        self.per_s, self.at_once = per_s, max(1.0, at_once)
        self._tokens = self.at_once
        self._at_s = -math.inf

    def take(self, now_s: float) -> int:
        """Take a token and return 0; without one, return after how many whole seconds one is."""
        passed_s = max(0.0, now_s - self._at_s)
        self._tokens = min(self.at_once, self._tokens + passed_s * self.per_s)
        self._at_s = now_s
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        return max(1, math.ceil((1 - self._tokens) / self.per_s))


class Buckets:
    """A bucket for each name, the latest ones kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buckets: dict[str, Bucket] = {}

    def take(self, name: str, per_s: float, at_once: float, now_s: float) -> int:
        """Take a token of a name, as `Bucket.take` does."""
        bucket = self._buckets.pop(name, None)
        if bucket is None or bucket.per_s != per_s:
            bucket = Bucket(per_s, at_once)
        self._buckets[name] = bucket
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return bucket.take(now_s)
