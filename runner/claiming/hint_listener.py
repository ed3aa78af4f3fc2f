"""Receives hints from other processes: a job waits, a lease was released, a cancel was requested.

Rule: hints only. A lost one costs at most the time to the next poll or renewal, never a job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import anyio

from everfold.streams.appending.log import Log
from everfold.streams.closing import close
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.redis_errors import mapped_errors
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.server import BLOCK_S, connect_blocking


class HintListener:
    """Subscribes to the namespace's wake channel, over a connection of its own.

    A hint is `word rest`; `on[word](rest)` is called for each. Words without an entry are ignored.
    """

    def __init__(self, log: Log, on: dict[str, Callable[[str], None]]) -> None:
        self._log = log
        self._on = on

    async def run(self) -> None:
        """Listen until cancelled; reconnects with back-off and never raises for the server."""
        backoff = Backoff()
        while True:
            try:
                await self._listen(backoff)
            except EverfoldError:
                await anyio.sleep(backoff.next_s())

    async def _listen(self, backoff: Backoff) -> None:
        redis = connect_blocking(self._log.url, name=f"everfold:{self._log.actor}")
        try:
            with mapped_errors():
                pubsub = redis.pubsub(ignore_subscribe_messages=True)
                await pubsub.subscribe(self._log.keys.wake())
                backoff.reset()
                while True:
                    message = await pubsub.get_message(timeout=BLOCK_S)
                    if message is not None:
                        self._pass_on(cast("bytes", message["data"]).decode(errors="replace"))
        finally:
            await close(redis)

    def _pass_on(self, hint: str) -> None:
        word, _, rest = hint.partition(" ")
        if word in self._on:
            self._on[word](rest)
