"""How the actors of a runner wait out what the server answers: none of them ends by an error.

Rule: each says once what it waits for, and tries again soon: what died meanwhile must be found.
"""

from __future__ import annotations

from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError

logger = get_logger("everfold.runner")

LONGEST_PAUSE_S = 0.5
"""Between two tries of an actor that finds orphaned or waiting jobs."""

_said: dict[str, str] = {}


def note_trouble(actor: str, error: EverfoldError) -> None:
    """Log what an actor waits for, unless it has just said so."""
    if _said.get(actor) != str(error):
        logger.warning("server_waited_for actor=%s why=%r", actor, str(error))
    _said[actor] = str(error)
