"""Counts the appends that were refused because another runner has the job."""

from __future__ import annotations

from typing import TypeVar

from everfold.streams.errors import Fenced
from everfold.streams.telemetry.measures import counter

Outcome = TypeVar("Outcome")

FENCED = counter(
    "everfold_fenced_appends", "Events refused because another runner has taken the job over."
)


def counted(outcome: Outcome) -> Outcome:
    """Return an outcome; one that is Fenced is counted, and nothing was written then."""
    if isinstance(outcome, Fenced):
        FENCED.add()
    return outcome
