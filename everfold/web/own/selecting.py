"""Which jobs are meant: the filters of lists, and of what is done to many jobs.

Rule: a caller that sees its own jobs only selects among them, whatever it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec import Struct

from everfold.moments import check_moment
from everfold.projector.job.job import STATUSES
from everfold.projector.job.job_filter import JobFilter
from everfold.streams.errors import InvalidName
from everfold.streams.events.ranges import check_number
from everfold.web.caller import Caller
from everfold.web.operation import Parameter
from everfold.web.query import Query

A_TIME = "use a time such as 2026-01-31T12:00:00Z, or Unix milliseconds"

TEXTS = {
    "user": "Only jobs of this user.",
    "kind": "Only jobs of this kind.",
    "backend": "Only jobs of this ComfyUI.",
    "batch": "Only jobs of this batch.",
    "queue": "Only jobs of this queue.",
    "tag": "Only jobs with this tag.",
    "code": "Only jobs that failed with this code, or expired for this reason.",
    "error": "Only jobs whose error's message has this text in it, in capitals or not.",
}

FILTERS: tuple[Parameter, ...] = (
    Parameter(
        name="status", is_list=True, choices=STATUSES, told="Only jobs of this status; repeat it."
    ),
    *(Parameter(name=name, told=told) for name, told in TEXTS.items()),
    Parameter(
        name="metadata",
        is_list=True,
        told="Only jobs with this in their metadata, as name=value; repeat it for more.",
    ),
    Parameter(name="newer_than", told=f"Only jobs whose last event came since then: {A_TIME}."),
    Parameter(name="older_than", told=f"Only jobs whose last event came until then: {A_TIME}."),
)


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selects jobs. What is left out selects all; all that is given must match."""

    statuses: tuple[str, ...] = ()
    user: str | None = None
    kind: str | None = None
    backend: str | None = None
    batch: str | None = None
    queue: str | None = None
    tag: str | None = None
    code: str | None = None
    error: str | None = None
    metadata: dict[str, str] = {}
    newer_than_ms: int | None = None
    """Time of the last event from which on, Unix ms, included."""
    older_than_ms: int | None = None
    """The same up to which."""

    def filter(self) -> JobFilter:
        """Return the filter. Raises InvalidName, TooLarge."""
        check_number("newer_than_ms", self.newer_than_ms, "run_at_ms")
        check_number("older_than_ms", self.older_than_ms, "run_at_ms")
        return JobFilter(**msgspec.structs.asdict(self)).checked()


def filter_of(query: Query) -> JobFilter:
    """Return what the parameters FILTERS select. Raises InvalidName, TooLarge."""
    return JobFilter(
        statuses=query.texts("status"),
        **{name: query.text(name) for name in TEXTS},
        metadata=dict(_pairs(query.texts("metadata"))),
        newer_than_ms=moment_ms("newer_than", query.text("newer_than")),
        older_than_ms=moment_ms("older_than", query.text("older_than")),
    ).checked()


def _pairs(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidName("metadata", text, "write it as name=value")
        yield name, value


def moment_ms(what: str, text: str | None) -> int | None:
    """Return a time as Unix ms, None for None. Raises InvalidName."""
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 15:
        check_number(what, int(text), "run_at_ms")
        return int(text)
    try:
        return check_moment(what, datetime.fromisoformat(text))
    except ValueError:
        raise InvalidName(what, text, A_TIME) from None


def scoped(selects: JobFilter, caller: Caller) -> JobFilter | None:
    """Return the filter among what the caller sees; None where it asks for others' jobs only."""
    if caller.scope is None:
        return selects
    if selects.user not in (None, caller.scope):
        return None
    return msgspec.structs.replace(selects, user=caller.scope)
