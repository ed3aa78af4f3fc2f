"""How the actors of a runner wait out what the server answers: none of them ends by an error.

Rule: each says once what it waits for, and tries again soon: what died meanwhile must be found.
Why nothing is claimed is said once, too, on each change, and once a minute while it stays so.
"""

from __future__ import annotations

from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError

logger = get_logger("everfold.runner")

LONGEST_PAUSE_S = 0.5
"""Between two tries of an actor that finds orphaned or waiting jobs."""

UNCLAIMED_EVERY_S = 60.0

_said: dict[str, str] = {}
_unclaimed: dict[str, tuple[str, float]] = {}
"""Queue -> why nothing of it was claimed, and the steady time when that was said."""


def note_trouble(actor: str, error: EverfoldError) -> None:
    """Log what an actor waits for, unless it has just said so."""
    if _said.get(actor) != str(error):
        logger.warning("server_waited_for actor=%s why=%r", actor, str(error))
    _said[actor] = str(error)


def note_unclaimed(queue: str, job_id: str, why: str) -> None:
    """Log why the jobs of a queue are not claimed; `job_id` is the first of them."""
    said, at_s = _unclaimed.get(queue, ("", 0.0))
    now_s = steady_s()
    if said != why or now_s - at_s >= UNCLAIMED_EVERY_S:
        logger.warning("nothing_claimed queue=%s job=%s why=%s", queue, job_id, why)
        _unclaimed[queue] = why, now_s
