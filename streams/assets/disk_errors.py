"""Says in words why a disk does not read or write."""

from __future__ import annotations

import errno

WHY = {
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "this user's share of its disk is used up",
    errno.EFBIG: "its disk, or a limit of this process, allows no file of this size",
    errno.EROFS: "its disk is read-only",
    errno.EIO: "its disk fails to read or write",
    errno.EACCES: "this user has no right to it",
}


def told(error: OSError) -> str:
    """Return why a folder cannot be used, with what the system says."""
    why = WHY.get(error.errno or 0)
    plain = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return f"{why} ({error.strerror})" if why else plain
