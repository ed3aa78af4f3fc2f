"""Reads the URL that is told of a job's end.

Rule: it stands in the job's first event alone, sealed where the log is; what it may hold of a
secret is in no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everfold.streams.appending.earlier_submit import read_first
from everfold.streams.border.sealed_form import is_sealed

if TYPE_CHECKING:
    from everfold.streams.appending.log import Log


async def load_callback(log: Log, job_id: str) -> str:
    """Return the URL; empty for none, and where the first event was trimmed or cannot be opened.

    Raises a leaf of Unavailable.
    """
    first = await read_first(log.redis, log.keys, job_id)
    if first is None or not first.callback:
        return ""
    url = (await log.opened(first, job_id)).callback or ""
    return url if "://" in url and not is_sealed(url) else ""
