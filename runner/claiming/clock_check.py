"""A runner that has just started waits before it acts by a clock at which nobody had looked.

Rule: where no runner has looked for a while, the clock may have been set forward just now. Those
that live get time to find that out, for one that has just come cannot.
"""

from __future__ import annotations

import anyio

from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.leases.server_clock import ServerClock

CHECK_S = 2.0


async def wait_for_other_looks(clocks: ServerClock, partition: int) -> None:
    """Wait until CHECK_S after the first look at a partition's clock, if nobody had looked lately.

    Raises a leaf of Unavailable, or CorruptLog, while the clock cannot be looked at.
    """
    clock = await clocks.of(partition)
    if clock.was_unseen:
        await anyio.sleep(max(0.0, clock.first_seen_s + CHECK_S - steady_s()))
