"""The clock for all that elapses: nobody sets it, and it goes on while the machine is suspended.

Rule: a difference of two of its readings is a duration; a single reading means nothing. All
processes of one machine read the same clock.
"""

from __future__ import annotations

import sys
import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)
if _CLOCK is None and sys.platform == "darwin":
    _CLOCK = time.CLOCK_MONOTONIC  # there it counts the sleep, and time.monotonic does not


def steady_s() -> float:
    """Return the seconds that have gone by since some moment before the machine started."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
