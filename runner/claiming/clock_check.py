"""A runner that has just started waits before it acts by a clock at which nobody had looked.

Rule: where no runner has looked for a while, the clock may have been set forward just now. Those
that live get time to find that out, for one that has just come cannot. It has looked at the clock
of every partition before it works.
"""

from __future__ import annotations

import anyio

from everfold.runner.execution.shared import Shared

CHECK_S = 2.0


async def wait_for_other_looks(shared: Shared) -> None:
    """Wait for CHECK_S where nobody had looked at a clock lately."""
    if shared.dispatch.clock.was_unseen:
        await anyio.sleep(CHECK_S)
