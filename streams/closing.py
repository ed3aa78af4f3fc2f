"""Closes connections at the end of a block, however the block ends.

Rule: a cancel is delivered again at each wait, so a close without a shield ends half-way and leaves
its connections open. To others such a connection is a sign of life.
"""

from __future__ import annotations

from typing import Protocol

import anyio

CLOSE_WITHIN_S = 5.0
"""Longest time that closing may take; what is still open then is left to the operating system."""


class Closable(Protocol):
    async def aclose(self) -> None: ...


async def close(resource: Closable) -> None:
    """Close it, also while the calling task is being cancelled."""
    with anyio.move_on_after(CLOSE_WITHIN_S, shield=True):
        await resource.aclose()
