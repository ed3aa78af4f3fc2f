"""A job's story: each of its events as a sentence, and the lanes of a chart over time."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from msgspec import Struct
from starlette.responses import Response

from everfold.event_text import EventLine, changes, event_lines
from everfold.job_story.lanes import Lease, Stretch, leases_of, stretches_of
from everfold.job_story.page import RULES
from everfold.job_story.saved_story import saved_story
from everfold.projector.job.job import Job
from everfold.streams.assets.asset import safe_name
from everfold.streams.events.record import Recorded
from everfold.streams.leases.backends import backend_titles
from everfold.streams.retention.history import job_history
from everfold.web.bodies import json_answer
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER, job_id_of
from everfold.web.query import Query

LINES_LIMIT = 5_000
"""Events that are told as sentences, the newest ones; lanes are of all."""
SENTENCE_LIMIT = 2_000
"""Characters of a sentence: of an error's message more is in the job."""


class StoryLine(Struct, frozen=True, kw_only=True):
    """One event."""

    seq: int
    time_ms: int
    gap_ms: int
    """Since the event before, 0 for the first."""
    type: str
    """Such as job.claimed; empty for an event that cannot be read."""
    actor: str
    """Who says so."""
    epoch: int
    sentence: str
    mark: str
    """recovery after the loss of a runner, runner where another one claimed, else empty."""
    status: str
    """Of the job after it."""
    attempt: int
    changed: tuple[str, ...]
    """Fields of the job's state that it has changed."""


class Story(Struct, frozen=True, kw_only=True):
    """What became of a job; archived events count."""

    job_id: str
    status: str
    events: int
    lines: list[StoryLine]
    """The newest 5,000, in order."""
    stretches: list[Stretch]
    """What it did, over time."""
    leases: list[Lease]
    """Who held it."""
    titles: dict[str, str]
    """What people call its servers, by address; those without a name are missing."""


async def _history(call: Call, job_id: str) -> list[Recorded]:
    log = call.gateway.everfold.log
    found = await job_history(log, job_id, await call.gateway.archive.get())
    return list(await log.opened_records(found))


async def get_story_page(call: Call) -> Response:
    """Return what became of a job as one HTML file, to be saved."""
    Query(call.request, ())
    job = await call.gateway.job(call.caller, job_id_of(call))
    everfold = call.gateway.everfold
    records = await _history(call, job.job_id)
    page = await saved_story(everfold.log, everfold.assets, records, job)
    name = quote(safe_name(f"job-{job.job_id}.html"), safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Content-Security-Policy": f"{RULES}; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(page, headers=headers, media_type="text/html; charset=utf-8")


async def get_story(call: Call) -> Response:
    """Tell what became of a job."""
    Query(call.request, ())
    job = await call.gateway.job(call.caller, job_id_of(call))
    records = await _history(call, job.job_id)
    titles = await backend_titles(call.gateway.everfold.log)
    lines = event_lines(records, titles)
    before = [Job(), *(line.job for line in lines)]
    told = [
        _line(line, types, earlier)
        for line, types, earlier in zip(lines, map(_type, records), before, strict=False)
    ]
    story = Story(
        job_id=job.job_id,
        status=lines[-1].job.status if lines else job.status,
        events=len(lines),
        lines=told[-LINES_LIMIT:],
        stretches=stretches_of(lines),
        leases=leases_of(lines),
        titles={name: titles[name] for name in _servers(lines) if name in titles},
    )
    return json_answer(story)


POSITION = {"seq", "entry_id", "updated_at_ms", "job_id", "epoch"}
"""Fields that each event changes."""


def _line(line: EventLine, kind: str, before: Job) -> StoryLine:
    return StoryLine(
        seq=line.seq,
        time_ms=line.time_ms,
        gap_ms=line.gap_ms,
        type=kind,
        actor=line.who,
        epoch=line.epoch,
        sentence=line.what[:SENTENCE_LIMIT],
        mark=line.mark,
        status=line.job.status,
        attempt=line.job.attempt,
        changed=tuple(name for name in changes(before, line.job) if name not in POSITION),
    )


def _servers(lines: Sequence[EventLine]) -> list[str]:
    return sorted({line.job.backend for line in lines if line.job.backend})


def _type(record: object) -> str:
    event = getattr(record, "event", None)
    tag = getattr(getattr(event, "__struct_config__", None), "tag", None)
    return tag if isinstance(tag, str) else ""


STORY: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/story", answer=get_story,
        name="get_job_story", role="reader", answers={200: Story},
        summary="Tell what became of a job: sentences, who held it when, and where it ran.",
    ),
    Operation(
        method="GET", path=f"{UNDER}/jobs/{{job_id}}/story.html", answer=get_story_page,
        name="get_job_story_page", role="reader", answers={200: "text/html"},
        summary="Return what became of a job as one HTML file that needs nothing else.",
    ),
)  # fmt: skip
