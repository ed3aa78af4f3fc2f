"""Waiting longer after each failure, with jitter, so that many clients do not return at once."""

from __future__ import annotations

import random


class Backoff:
    """Exponential back-off with full jitter above half: 0.5 to 1 of the doubled step."""

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._step_s = first_s

    def next_s(self) -> float:
        step_s = self._step_s
        self._step_s = min(self._step_s * 2, self._most_s)
        return step_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with the first step, after a success."""
        self._step_s = self._first_s
