"""A job on the way through its partition's log: what must be known of it, and its events."""

from __future__ import annotations

from collections.abc import Sequence

from everfold.projector.job.invariants import Trace
from everfold.streams.events.record import Recorded

EVENT_BYTES = 1_000
"""What an event takes in memory besides its payload."""


class Walk:
    """One job, from its first event that is read on."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.size_bytes = trace, 0
        """After the last event, and how much memory its events take."""
        self._events = list[Recorded]()

    @property
    def history(self) -> Sequence[Recorded]:
        """All its events, the first one included; empty where not all of them are kept."""
        return self._events if len(self._events) == self.trace.seq else ()

    def keep(self, record: Recorded) -> int:
        """Keep its next event; return how many bytes that takes, 0 where it is not kept."""
        if record.seq != len(self._events) + 1:
            return 0
        self._events.append(record)
        taken = EVENT_BYTES + len(record.payload)
        self.size_bytes += taken
        return taken

    def forget(self) -> None:
        """Keep no event any more."""
        self._events, self.size_bytes = [], 0
