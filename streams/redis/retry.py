"""Trying again while the server is away, for calls that may be repeated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from everfold.streams.errors import Unavailable
from everfold.streams.redis.backoff import Backoff

T = TypeVar("T")


async def with_retry(call: Callable[[], Awaitable[T]], retry_for_s: float) -> T:
    """Await `call` again after each Unavailable, until `retry_for_s` is over; then raise it.

    Only for calls that change nothing when they are repeated.
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
