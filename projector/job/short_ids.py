"""The short forms of job ids that lists show and commands take.

Rule: pure. An id begins with its time, so that its end tells jobs apart.
"""

from __future__ import annotations

from collections.abc import Iterable

SHORT = 8
"""Characters of the end of an id that stand for it, or more where jobs share them."""


def short_ids(job_ids: Iterable[str]) -> dict[str, str]:
    """Return for each id the end of it that no other one of these has."""
    ids = list(dict.fromkeys(job_ids))
    for length in range(SHORT, max(map(len, ids), default=SHORT) + 1):
        found = {job_id: job_id[-length:] for job_id in ids}
        if len(set(found.values())) == len(ids):
            return found
    return {job_id: job_id for job_id in ids}
