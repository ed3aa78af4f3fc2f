"""Receives hints from other processes: a job waits, a lease was released, a cancel was requested.

Rule: hints only. A lost one costs at most the time to the next poll or renewal, never a job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import anyio

from everfold.streams.appending.log import Log
from everfold.streams.closing import close
from everfold.streams.errors import EverfoldError
from everfold.streams.reading.node_tasks import in_groups, node_groups
from everfold.streams.redis.redis_errors import mapped_errors
from everfold.streams.redis.retry import Backoff
from everfold.streams.redis.server import BLOCK_S


class HintListener:
    """Subscribes to the namespace's wake channels, over a connection of its own per node.

    A hint is `word rest`; `on[word](rest)` is called for each. Words without an entry are ignored.
    """

    def __init__(self, log: Log, on: dict[str, Callable[[str], None]]) -> None:
        self._log = log
        self._on = on

    async def run(self) -> None:
        """Listen until cancelled; reconnects with back-off and never raises for the server."""
        keys = self._log.keys
        channels = dict.fromkeys([keys.wake(), *map(keys.wake_at, range(keys.partitions))])
        await in_groups(self._log, lambda: node_groups(self._log, channels), self._listen_at)

    async def _listen_at(self, channels: Sequence[str]) -> None:
        """Listen at the node that has these channels."""
        backoff = Backoff()
        while True:
            try:
                await self._listen(channels, backoff)
            except EverfoldError:
                await anyio.sleep(backoff.next_s())

    async def _listen(self, channels: Sequence[str], backoff: Backoff) -> None:
        """Listen until a channel has moved to another node."""
        name = f"everfold:{self._log.actor}"
        redis = self._log.redis.blocking(channels[0], name=name, block_s=BLOCK_S)
        try:
            with mapped_errors():
                pubsub = redis.pubsub()
                for channel in channels:  # one by one: each is of a slot of its own
                    is_sharded = channel.startswith("{")
                    await (pubsub.ssubscribe if is_sharded else pubsub.subscribe)(channel)
                backoff.reset()
                while True:
                    message = await pubsub.get_message(timeout=BLOCK_S)
                    if message is None or message["type"] in ("subscribe", "ssubscribe"):
                        continue
                    if message["type"] == "sunsubscribe":
                        return
                    self._pass_on(cast("bytes", message["data"]).decode(errors="replace"))
        finally:
            await close(redis)

    def _pass_on(self, hint: str) -> None:
        word, _, rest = hint.partition(" ")
        if word in self._on:
            self._on[word](rest)
