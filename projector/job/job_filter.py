"""What selects jobs: in lists, and in what is done to many of them.

Rule: pure. `names` finds jobs in the index; `fits` is what counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct
from msgspec.structs import replace

from everfold.projector.job.index_names import code_of, index_name, text_of
from everfold.projector.job.job import OPEN_STATUSES, STATUSES, TERMINAL_STATUSES, Job
from everfold.streams.errors import InvalidName
from everfold.streams.events.checks import check_choice, check_text, check_texts
from everfold.streams.events.limits import BACKEND_LIMIT

TEXTS = ("user", "kind", "backend", "batch", "queue", "tag", "code", "error")

UNINDEXED = ("backend", "error")

WITH_ERRORS = tuple(status for status in STATUSES if status != "succeeded")
"""Only jobs of these have an error: one that has succeeded after a retry has none any more."""


class JobFilter(Struct, frozen=True, kw_only=True):
    """Selects jobs. What is empty or None selects all; all that is given must match."""

    statuses: Collection[str] = ()
    """Any of them."""
    user: str | None = None
    kind: str | None = None
    backend: str | None = None
    batch: str | None = None
    queue: str | None = None
    tag: str | None = None
    code: str | None = None
    """The code of a failed job's error, or the reason of one that expired."""
    error: str | None = None
    """A part of the error's message, in capitals or not; those of earlier attempts count, too."""
    metadata: Mapping[str, str] = {}
    """Values by name; one that is no text in the job is compared as JSON: "17" fits 17."""
    newer_than_ms: int | None = None
    """Time of the last event from which on, Unix ms, included."""
    older_than_ms: int | None = None
    """The same up to which."""

    def checked(self) -> JobFilter:
        """Return the filter, each status once.

        Raises InvalidName or TooLarge for what no job can have.
        """
        named = check_texts("statuses", self.statuses)
        statuses = tuple(check_choice("status", one, STATUSES) for one in dict.fromkeys(named))
        texts = {
            what: check_text(what, text, most=BACKEND_LIMIT)
            for what in TEXTS
            if (text := getattr(self, what)) is not None
        }
        if not isinstance(self.metadata, Mapping):
            raise InvalidName("metadata", self.metadata, "pass a mapping of names to texts")
        metadata = {
            check_text("name of metadata", name, most=BACKEND_LIMIT): check_text(
                "value of metadata", value, most=BACKEND_LIMIT
            )
            for name, value in self.metadata.items()
        }
        return replace(self, statuses=statuses, metadata=metadata, **texts)

    @property
    def may_be_open(self) -> bool:
        """Whether an open job can fit."""
        is_closed = bool(self.statuses) and set(self.statuses) <= set(TERMINAL_STATUSES)
        return not self.code and not is_closed

    @property
    def may_have_ended(self) -> bool:
        """Whether a job that has ended can fit."""
        return not self.statuses or not set(self.statuses) <= set(OPEN_STATUSES)

    def names(self) -> list[list[str]]:
        """Return groups of names in the index: a job that fits has a name of each group."""
        asked = {what: getattr(self, what) for what in TEXTS if what not in UNINDEXED}
        asked |= {f"metadata.{name}": value for name, value in self.metadata.items()}
        selected = self.statuses or (WITH_ERRORS if self.error else ())
        statuses = [index_name("status", status) for status in selected]
        # What a job does not have stands in no index: an empty text selects by its state alone.
        groups = [[index_name(what, text)] for what, text in asked.items() if text]
        return [statuses, *groups] if statuses else groups

    def fits(self, job: Job) -> bool:
        """Say whether a job is selected; the times of its last event are not looked at."""
        return (
            (not self.statuses or job.status in self.statuses)
            and self.user in (None, job.user)
            and self.kind in (None, job.kind)
            and self.backend in (None, job.backend)
            and self.batch in (None, job.batch)
            and self.queue in (None, job.queue)
            and (self.tag is None or self.tag in job.tags)
            and self.code in (None, code_of(job))
            and (self.error is None or _says(job, self.error))
            and all(_has(job, name, value) for name, value in self.metadata.items())
        )


def _says(job: Job, text: str) -> bool:
    return job.error is not None and text.casefold() in job.error.message.casefold()


def _has(job: Job, name: str, value: str) -> bool:
    return name in job.metadata and text_of(job.metadata[name]) == value


def check_filter(selects: object) -> JobFilter:
    """Return a filter. Raises InvalidName for what is none, or what no job can have."""
    if not isinstance(selects, JobFilter):
        raise InvalidName("filter", selects, "pass an everfold.JobFilter")
    return selects.checked()
