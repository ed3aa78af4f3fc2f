"""How much memory this process has used at most."""

from __future__ import annotations

import resource
import sys


def peak_mib() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "linux" else peak // 2**20
