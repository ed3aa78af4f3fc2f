"""Counts the appends that were refused because another runner has the job."""

from __future__ import annotations

from everfold.streams.errors import Fenced
from everfold.streams.telemetry.measures import counter

FENCED = counter(
    "everfold_fenced_appends", "Events refused because another runner has taken the job over."
)


def count_fenced(outcome: object) -> None:
    """Count an outcome that is Fenced; nothing was written then."""
    if isinstance(outcome, Fenced):
        FENCED.add()
