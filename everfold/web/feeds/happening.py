"""What happens to a job that is watched: its events, and what its backend says meanwhile.

Rule: pure.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_message import LiveEntry, Preview
from everfold.web.feeds.piece import Piece


class Change(Struct, frozen=True):
    """One event, and the job after it."""

    job: Job
    record: Recorded
    pieces: dict[str, Piece] = {}
    """What is sent of it, by contract: made once for all watchers."""


Happening = Change | LiveEntry | Preview
"""What is told of one job, in its order."""
