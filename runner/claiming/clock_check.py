"""A runner that has just started looks at the server's clock before it acts by it.

Rule: where no runner has looked for a while, the clock may have been set forward just now. Those
that live get time to find that out, for one that has just come cannot.
"""

from __future__ import annotations

import anyio

from everfold.runner.execution.shared import Shared
from everfold.streams.errors import EverfoldError
from everfold.streams.redis.retry import Backoff

CHECK_S = 2.0


async def check_clock(shared: Shared) -> None:
    """Look at the clock of every partition, and wait for CHECK_S where nobody had looked."""
    backoff = Backoff()
    while True:
        try:
            await shared.dispatch.clock.look_at_all()
            break
        except EverfoldError:
            await anyio.sleep(backoff.next_s())
    if shared.dispatch.clock.was_unseen:
        await anyio.sleep(CHECK_S)
