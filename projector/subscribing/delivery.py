"""What a subscriber is given, and which events it wants.

Rule: pure. A filter looks at the event's type and at the job as it is right after the event, so
that an event that does not name its user or kind can be chosen by them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import get_args

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.streams.errors import Misconfigured
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Event
from everfold.streams.events.record import Recorded

TYPES: tuple[str, ...] = tuple(str(kind.__struct_config__.tag) for kind in get_args(Event))
"""Every type of event there is, such as job.succeeded."""


class Delivery(Struct, frozen=True):
    """One event of one job."""

    record: Recorded
    job: Job
    """The job as it is right after the event."""

    @property
    def event(self) -> Event:
        assert not isinstance(self.record.event, Unreadable), "such a job is parked"
        return self.record.event

    @property
    def type(self) -> str:
        return str(self.event.__struct_config__.tag)


class Filter(Struct, frozen=True):
    """Which events are wanted; what is empty stands for everything."""

    types: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    users: tuple[str, ...] = ()

    def wants(self, delivery: Delivery) -> bool:
        job = delivery.job
        return (
            (not self.types or delivery.type in self.types)
            and (not self.kinds or job.kind in self.kinds)
            and (not self.users or job.user in self.users)
        )


def filter_of(
    types: Iterable[str] = (), kinds: Iterable[str] = (), users: Iterable[str] = ()
) -> Filter:
    """Return the filter; types may be written without their `job.`.

    Raises Misconfigured for a type that does not exist.
    """
    return Filter(tuple(map(_known_type, types)), tuple(kinds), tuple(users))


def _known_type(name: str) -> str:
    whole = name if name.startswith("job.") else f"job.{name}"
    if whole not in TYPES:
        near = difflib.get_close_matches(whole, TYPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(TYPES)}"
        raise Misconfigured(f"there is no event type {name!r}; {hint}")
    return whole
