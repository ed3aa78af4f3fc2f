"""The options that select jobs: for lists, and for what is done to many jobs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from cyclopts import Group, Parameter

from everfold.commands.options import User, chosen
from everfold.commands.times import PastTime, to_ms
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.job.words import Status

WHICH = Group("Which jobs", sort_key=5)


@Parameter(name="*", group=WHICH)
@dataclass(frozen=True)
class Selection:
    """Selects jobs; what is given must all match."""

    status: Annotated[
        list[Status] | None,
        Parameter(
            name="--status",
            help="Only jobs of this status. Repeat the option for several.",
        ),
    ] = None
    user: User = None
    kind: Annotated[str | None, chosen("Only jobs of this kind.")] = None
    backend: Annotated[str | None, chosen("Only jobs of this ComfyUI.")] = None
    batch: Annotated[str | None, chosen("Only jobs of this batch.")] = None
    queue: Annotated[str | None, chosen("Only jobs of this queue.")] = None
    tag: Annotated[str | None, chosen("Only jobs with this tag.")] = None
    code: Annotated[
        str | None,
        chosen("Only jobs that failed with this code, or expired for this reason."),
    ] = None
    error: Annotated[
        str | None,
        chosen("Only jobs whose error's message has this text in it, in capitals or not."),
    ] = None
    metadata: Annotated[
        list[str] | None,
        Parameter(
            name="--metadata",
            help="Only jobs with this in their metadata, as name=value. Repeat the option for "
            "more.",
        ),
    ] = None
    since: Annotated[
        PastTime | None,
        Parameter(
            name=("--since", "--newer-than"), help="Only jobs whose last event came since then."
        ),
    ] = None
    until: Annotated[
        PastTime | None,
        Parameter(
            name=("--until", "--older-than"), help="Only jobs whose last event came until then."
        ),
    ] = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for, so that all jobs are selected."""
        return all(getattr(self, field.name) in (None, []) for field in fields(self))

    def filter(self) -> JobFilter:
        """Return the filter. Raises InvalidName for metadata that is no name=value."""
        from everfold.commands.jobs.submit import pair

        return JobFilter(
            statuses=tuple(self.status or ()),
            user=self.user,
            kind=self.kind,
            backend=self.backend,
            batch=self.batch,
            queue=self.queue,
            tag=self.tag,
            code=self.code,
            error=self.error,
            metadata=dict(pair("--metadata", text) for text in self.metadata or ()),
            newer_than_ms=to_ms(self.since) if self.since else None,
            older_than_ms=to_ms(self.until) if self.until else None,
        )


EVERY_JOB = Selection()
