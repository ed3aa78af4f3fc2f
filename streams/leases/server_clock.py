"""Looks at the server's clock, and puts right what a step of it would end or freeze.

Rule: all leases begin anew; then the step is recorded in the partition, once, whoever finds it
first; then what waited for a time is moved, page by page, by whoever is there, and nothing is
promoted before that is through. Nothing is taken over or promoted by a clock that is ahead of what
this process can explain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.leases.partition_clock import Look, PartitionClock
from everfold.streams.redis import scripts
from everfold.streams.redis.each import each

logger = get_logger("everfold.leases")

PAGE = 1000
"""Leases, and times, that one call moves: the server does nothing else for that long."""


class ServerClock:
    """The server's clock as one process knows it, partition by partition."""

    def __init__(self, log: Log, lease_s: float) -> None:
        self._log = log
        self._lease_s = lease_s
        self._clocks: dict[int, PartitionClock] = {}

    async def of(self, partition: int) -> PartitionClock:
        """Return a partition's clock, looked at once or more. Raises a leaf of Unavailable."""
        clock = self._clocks.setdefault(partition, PartitionClock(self._lease_s))
        if not clock.is_known:
            await self.look(partition)
        return clock

    async def of_all(self, partitions: Collection[int]) -> dict[int, PartitionClock]:
        """Return the clocks of several partitions. Raises as `of` does."""
        known = {p: clock for p in partitions if (clock := self._clocks.get(p)) and clock.is_known}
        if len(known) < len(partitions):
            unknown = [partition for partition in partitions if partition not in known]
            outcomes = await each(self._log, self.of, unknown)
            outcomes.all()
            known |= outcomes.values
        return known

    async def look_at_all(self) -> None:
        """Look at the clock of every partition once. One that cannot be read is passed over:
        nothing of its partition is acted on before a look. Raises a leaf of Unavailable where no
        partition answers."""
        outcomes = await each(self._log, self.of)
        if not outcomes.values and outcomes.failure is not None:
            raise outcomes.failure

    @property
    def unsure_to_ms(self) -> int:
        """A server time up to this one may be from before a step of the clock; 0 for no step."""
        return max((clock.unsure_to_ms for clock in self._clocks.values()), default=0)

    def latest_ms(self, partitions: Sequence[int], now_s: float) -> int:
        """Return the latest server time that can be explained in each of these partitions that was
        looked at; 0 for any."""
        known = [self._clocks[p].latest_ms(now_s) for p in partitions if p in self._clocks]
        return min((latest_ms for latest_ms in known if latest_ms), default=0)

    def note(self, partition: int, look: Look, asked_s: float, answered_s: float) -> bool:
        """Take over a look that came with another answer. Return False where only `look` can tell
        what it means."""
        clock = self._clocks.get(partition)
        if clock is None or not clock.is_known or look.is_moving:
            return False
        return not clock.observe(look, asked_s, answered_s)

    async def look(self, partition: int) -> None:
        """Look at the clock; deal with a step that nobody has recorded. Raises Unavailable."""
        clock = self._clocks.setdefault(partition, PartitionClock(self._lease_s))
        look, asked_s, answered_s = await self._look(partition)
        if look.is_moving:
            await self._move(partition)
        step_ms = clock.observe(look, asked_s, answered_s)
        if not step_ms:
            return
        anew_ms = clock.anew_ms(step_ms)
        outcome = await self._shift(partition, step_ms, look.stepped_ms, anew_ms)
        logger.warning(
            "server_clock_set partition=%s by_s=%.1f outcome=%s", partition, step_ms / 1000, outcome
        )
        if outcome != "known":
            # Refused: it was this process that stood still, by a clock that stood still with it.
            again = await self._look(partition)
            clock.accept(*again, is_step=True)

    async def _look(self, partition: int) -> tuple[Look, float, float]:
        asked_s = steady_s()
        look = await scripts.look_at_clock(self._log.redis, clock=self._log.keys.clock(partition))
        return Look(*look), asked_s, steady_s()

    async def _shift(self, partition: int, step_ms: int, known_ms: int, anew_ms: int) -> str:
        await self._restart_leases(partition)
        outcome = await scripts.shift_times(
            self._log.redis,
            keys=self._touched(partition),
            tag=self._log.keys.tag(partition),
            step_ms=step_ms,
            known_ms=known_ms,
            anew_ms=anew_ms,
        )
        if outcome in ("shifted", "moving"):
            await self._move(partition)
        # Of a step that was recorded in between, the next look tells.
        return "known" if outcome == "moving" else outcome

    async def _restart_leases(self, partition: int) -> None:
        keys, cursor = self._log.keys, ("", "")
        queues, tag = keys.queues(partition), keys.tag(partition)
        while True:
            _, cursor = await scripts.restart_leases(
                self._log.redis, queues=queues, tag=tag, cursor=cursor, most=PAGE
            )
            if not cursor[0]:
                return

    async def _move(self, partition: int) -> None:
        """Move what waited for a time when the last step was recorded."""
        keys, tag = self._touched(partition), self._log.keys.tag(partition)
        while await scripts.move_times(self._log.redis, keys=keys, tag=tag, most=PAGE):
            pass

    def _touched(self, partition: int) -> tuple[str, str, str]:
        keys = self._log.keys
        return keys.clock(partition), keys.later(partition), keys.deadlines(partition)
