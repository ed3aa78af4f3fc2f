"""One job beside the farm: its events from the first on, what its backend says, its previews.

Rule: nothing waits for a reader. Events that were passed over are read in the log again; of node
progress and previews the newest is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from everfold.client import Everfold
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_message import LiveEntry, Preview
from everfold.web.farm.mailbox import frame
from everfold.web.farm.stream.live_nodes import LiveNodes
from everfold.web.feeds.happening import Change, Happening
from everfold.web.feeds.job_feed import JobFeed
from everfold.web.own.answers import UNDER
from everfold.web.own.events.logged import logged

EVENTS_KEPT = 256
"""Events that are kept for a reader until it takes them."""

_encode = msgspec.json.Encoder().encode


class PreviewAt(Struct, frozen=True, kw_only=True):
    """A newer picture of what runs."""

    job_id: str
    attempt: int
    node: str
    path: str
    """Where it can be had, until there is a newer one."""


class WatchedJob:
    """The job that one reader looks at."""

    def __init__(
        self, everfold: Everfold, feed: JobFeed, after_seq: int, wake: Callable[[], None]
    ) -> None:
        self._everfold, self._feed, self._wake = everfold, feed, wake
        self.seq = after_seq
        """The number of the last event that the reader has."""
        self._events: list[Recorded] = []
        self._is_behind = after_seq < feed.job.seq
        self._live = LiveNodes(feed.job.job_id)
        self._preview: PreviewAt | None = None
        self._previews = 0
        feed.listeners.append(self._note)

    def close(self) -> None:
        """Hear no more."""
        self._feed.listeners.remove(self._note)

    def _note(self, happening: Happening) -> None:
        if isinstance(happening, Change):
            self._events.append(happening.record)
            if len(self._events) > EVENTS_KEPT:
                self._events.clear()
                self._is_behind = True
        elif isinstance(happening, LiveEntry):
            self._live.note(happening)
        elif isinstance(happening, Preview):
            self._note_preview(happening)
        self._wake()

    def _note_preview(self, preview: Preview) -> None:
        job = self._feed.job
        self._previews += 1
        path = f"{UNDER}/jobs/{job.job_id}/preview?number={self._previews}"
        self._preview = PreviewAt(
            job_id=job.job_id, attempt=job.attempt, node=preview.node, path=path
        )

    async def frames(self, cursor: str) -> list[bytes]:
        """Return the messages since the last call. `cursor` is where the reader is in the farm.

        Raises JobUnknown, a leaf of Unavailable.
        """
        found = list[bytes]()
        for record in await self._fresh():
            self.seq = record.seq
            found.append(frame("log", _encode(logged(record)), f"{cursor}~{self.seq}"))
        message_id = f"{cursor}~{self.seq}"
        if (live := self._live.take()) is not None:
            found.append(frame("live", _encode(live), message_id))
        if self._preview is not None:
            found.append(frame("preview", _encode(self._preview), message_id))
            self._preview = None
        return found

    async def _fresh(self) -> Sequence[Recorded]:
        events, self._events = self._events, []
        fresh = [record for record in events if record.seq > self.seq]
        is_gap = bool(fresh) and fresh[0].seq != self.seq + 1
        if self._is_behind or is_gap:
            self._is_behind = False
            return await self._everfold.events(self._feed.job.job_id, self.seq)
        return fresh
