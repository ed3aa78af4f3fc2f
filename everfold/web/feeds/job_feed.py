"""One job that is watched: as it is now, and what happens to it, told to all its watchers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.border.logger import get_logger
from everfold.streams.events.record import Recorded
from everfold.streams.live.live_message import LiveEntry, Preview
from everfold.web.feeds.happening import Change, Happening
from everfold.web.feeds.ring import Ring

logger = get_logger("everfold.web")

T = TypeVar("T")

CHANGES_KEPT = 256
"""Changes of one job by which a watcher may be late: more than a minute of them."""


class JobFeed:
    """One job as it is now, and what happens to it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.changes = Ring[Change](CHANGES_KEPT)
        self.previews = Ring[Preview](1)
        self.listeners: list[Callable[[Happening], None]] = []
        """Each is called at once with whatever happens."""
        if job.is_terminal:
            self._close()

    def apply(self, record: Recorded) -> None:
        """Fold the next event."""
        self.job = evolve(self.job, record)
        self._add(Change(self.job, record))

    def move(self, job: Job, record: Recorded) -> None:
        """Go to a later state at once, because what was before it cannot be read."""
        self.job = job
        self._add(Change(job, record))

    def _add(self, change: Change) -> None:
        self.changes.add(change)
        self._tell(change)
        if self.job.is_terminal:
            self._close()

    def hear(self, said: LiveEntry | Preview) -> None:
        """Pass on what the backend says of the present attempt, or of the next one."""
        if isinstance(said, Preview):
            self.previews.add(said)
        self._tell(said)

    def _tell(self, happening: Happening) -> None:
        for listener in list(self.listeners):
            told(listener, happening)

    def close(self) -> None:
        """Let all watchers end."""
        self._close()

    def _close(self) -> None:
        self.changes.close()
        self.previews.close()


def told(listener: Callable[[T], None], item: T) -> None:
    """Tell one listener; what it does wrong holds up nobody else."""
    try:
        listener(item)
    except Exception:
        logger.exception("feed_listener_failed")
