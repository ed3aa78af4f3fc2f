"""A delivery, which is what a subscriber gets, and the filter that says which events it wants.

Rule: pure. A filter looks at the event's type and at the job right after the event, so events that
do not name their user or kind can be chosen by them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import get_args

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.streams.border.values import shown
from everfold.streams.errors import Misconfigured
from everfold.streams.events.checks import check_texts
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Event
from everfold.streams.events.record import Recorded

TYPES: tuple[str, ...] = tuple(str(kind.__struct_config__.tag) for kind in get_args(Event))
"""Every type of event there is, such as job.succeeded."""


class Delivery(Struct, frozen=True):
    """One event of one job, as a subscriber gets it."""

    record: Recorded
    """The log's entry; its event can be read."""
    job: Job
    """The job as it is right after the event."""

    @property
    def event(self) -> Event:
        """The event itself. Its `id` is the same each time that it is delivered."""
        assert not isinstance(self.record.event, Unreadable), "such a job is parked"
        return self.record.event

    @property
    def type(self) -> str:
        """The event's type, such as job.succeeded."""
        return str(self.event.__struct_config__.tag)


class Filter(Struct, frozen=True):
    """Which events are wanted: those that match every field. An empty field matches all."""

    types: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    users: tuple[str, ...] = ()

    def wants(self, delivery: Delivery) -> bool:
        """Say whether the delivery matches every field."""
        job = delivery.job
        return (
            (not self.types or delivery.type in self.types)
            and (not self.kinds or job.kind in self.kinds)
            and (not self.users or job.user in self.users)
        )


def filter_of(
    types: Iterable[str] = (), kinds: Iterable[str] = (), users: Iterable[str] = ()
) -> Filter:
    """Return the filter; types may be written with or without `job.` before them.

    Raises Misconfigured for a type that does not exist; the message names the nearest one. Raises
    InvalidName for what is no list of texts.
    """
    known = tuple(map(_known_type, check_texts("types", types)))
    return Filter(known, check_texts("kinds", kinds), check_texts("users", users))


def _known_type(name: str) -> str:
    whole = name if name.startswith("job.") else f"job.{name}"
    if whole not in TYPES:
        raise Misconfigured(no_such_type(name))
    return whole


def no_such_type(name: str) -> str:
    """Return a sentence that names the nearest type, or all of them where none is near."""
    own = [one.removeprefix("job.") for one in TYPES]  # else job. is near to any other type
    near = difflib.get_close_matches(name.removeprefix("job.")[:100], own, n=1)
    hint = f"did you mean job.{near[0]}?" if near else f"there are {', '.join(TYPES)}"
    return f"there is no event type {shown(name)}; {hint}"
