"""Reads one partition: by itself while something comes, else by the wait of all quiet ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from everfold.streams.events.record import Recorded
from everfold.streams.reading.quiet_partitions import Heard, QuietPartitions

Read = Callable[[], Awaitable[list[Recorded]]]


class QuietReader:
    """Of one partition, by what its caller reads with: `ready` returns what is there, `wait` waits
    for it by itself, up to `block_s`, and `rest` closes the connection on which that is done.
    """

    def __init__(
        self,
        quiet: QuietPartitions,
        partition: int,
        block_s: float,
        rest: Callable[[], Awaitable[None]],
    ) -> None:
        self._quiet, self._partition, self._block_s = quiet, partition, block_s
        self._rest = rest
        self._is_quiet = False

    def start_over(self) -> None:
        """Wait by itself next: what was read before is not known any more."""
        self._is_quiet = False

    async def next(self, after: str, *, ready: Read, wait: Read) -> list[Recorded]:
        """Return what follows an entry id, [] where nothing comes for `block_s`. Raises as `ready`
        and `wait` do."""
        heard = Heard.SOMETHING
        if self._is_quiet:
            heard = await self._quiet.wait(self._partition, after, self._block_s)
        if heard != Heard.UNKNOWN and self._is_quiet:
            await self._rest()  # a connection that nobody uses may be cut unseen
        if heard == Heard.NOTHING:
            return []
        batch = await ready() if heard == Heard.SOMETHING else []
        batch = batch or await wait()
        self._is_quiet = not batch
        return batch

    def leave(self) -> None:
        """Read this partition no more."""
        self._quiet.leave(self._partition)
