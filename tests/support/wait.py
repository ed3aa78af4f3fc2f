"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

import anyio

T = TypeVar("T")

FIRST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.05
BUSY_S = 20.0
"""Long enough for what takes no time, on a machine on which much else runs."""


@overload
async def eventually(condition: Callable[[], Awaitable[T]], within_s: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], within_s: float = ...) -> T: ...
async def eventually(condition: Callable[[], T | Awaitable[T]], within_s: float = BUSY_S) -> T:
    """Ask `condition` again and again until its answer is true, and return that answer.

    The condition is asked at least once. An exception from it ends the wait at once. Raises
    AssertionError with the last answer when `within_s` is over.
    """
    deadline = anyio.current_time() + within_s
    pause_s = FIRST_PAUSE_S
    while True:
        answer = await _asked(condition)
        if answer:
            return answer
        if anyio.current_time() >= deadline:
            name = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"{name} was still {answer!r} after {within_s} s")
        await anyio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)


def eventually_blocking(condition: Callable[[], T], within_s: float) -> T:
    """As `eventually`, where no event loop runs."""
    deadline = time.monotonic() + within_s
    pause_s = FIRST_PAUSE_S
    while not (answer := condition()):
        if time.monotonic() >= deadline:
            name = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"{name} was still {answer!r} after {within_s} s")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
    return answer


async def _asked(condition: Callable[[], T | Awaitable[T]]) -> T:
    answer = condition()
    if inspect.isawaitable(answer):
        return await answer
    return answer
