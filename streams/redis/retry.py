"""Try again while the server is away, and wait longer after each failure.

Rule: only calls that change nothing when they are repeated are tried again here.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from everfold.streams.errors import Unavailable

T = TypeVar("T")


class Backoff:
    """Exponential back-off with jitter, so that many clients do not return at once.

    The step begins at `first_s`, doubles with each wait and ends at `most_s`.
    """

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._step_s = first_s

    def next_s(self) -> float:
        """Return the seconds to wait now: half to all of the step."""
        step_s = self._step_s
        self._step_s = min(self._step_s * 2, self._most_s)
        return step_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with the first step, after a success."""
        self._step_s = self._first_s


async def with_retry(call: Callable[[], Awaitable[T]], retry_for_s: float) -> T:
    """Await `call` again after each Unavailable, with back-off, for `retry_for_s` seconds.

    Raises the last Unavailable then, and every other error at once. `call` may be under way when
    the time is over: it is not cut off.
    """
    backoff = Backoff(first_s=0.02, most_s=1.0)
    give_up_at_s = anyio.current_time() + retry_for_s
    while True:
        try:
            return await call()
        except Unavailable:
            if anyio.current_time() >= give_up_at_s:
                raise
        await anyio.sleep(backoff.next_s())
