"""Virtual time: what happens next, in an order that a seed decides."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

START_MS = 1_000_000


class Agenda:
    """All that will happen. One entry after the other; time stands still in between."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now_ms = START_MS
        self.steps = 0
        self._entries: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._made = 0

    def after(self, delay_ms: int, act: Callable[..., None], *given: object) -> None:
        """Let `act` happen in `delay_ms`; entries of the same time keep their order."""
        self._made += 1
        heapq.heappush(self._entries, (self.now_ms + max(0, delay_ms), self._made, act, given))

    def step(self) -> bool:
        """Let the next thing happen; False when nothing is left."""
        if not self._entries:
            return False
        self.now_ms, _, act, given = heapq.heappop(self._entries)
        self.steps += 1
        act(*given)
        return True

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def between(self, least_ms: int, most_ms: int) -> int:
        return least_ms + int(self.random.random() * (most_ms - least_ms + 1))
