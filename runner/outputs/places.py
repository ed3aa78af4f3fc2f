"""How much one runner stores at the same time."""

from __future__ import annotations

import anyio
from msgspec import Struct, field

FILES_AT_ONCE = 4
"""Files that are stored at the same time: each needs a few MiB of memory."""
JOBS_AT_ONCE = 16
"""Jobs whose files are stored without a slot. Further ones keep theirs until it is their turn, so
that no more jobs are begun than files can be stored."""


class Places(Struct, frozen=True, eq=False):
    """Each is held while something is stored."""

    jobs: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(JOBS_AT_ONCE))
    """By a job that no longer has a slot."""
    files: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(FILES_AT_ONCE))
    """By one try to store one file."""
