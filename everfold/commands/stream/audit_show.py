"""`everfold audit show JOB`: what happened to a job, who did it, and how it was at any point."""

from __future__ import annotations

import time
from datetime import datetime

from rich.text import Text

from everfold.archives.opening import known_archive
from everfold.client import to_json
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.archive import Place
from everfold.commands.words import STYLES, console, emit, plain_table
from everfold.event_text import Step, changes, story
from everfold.projector.job.job import Job
from everfold.streams.errors import InvalidName
from everfold.streams.retention.history import job_history

MARKS = {"recovery": "red", "runner": "yellow"}


async def show(
    job_id: str,
    *,
    at: str = "",
    diff: tuple[str, str] | None = None,
    archive: Place = "",
    session: Session = DEFAULT,
) -> int:
    """Tell a job's story, event by event, with what was archived too.

    Parameters
    ----------
    at
        Show the state as it was then: a sequence number, or a time such as 2026-11-23T10:15:00.
    diff
        Show what changed between two such points.
    """
    async with session.open() as everfold:
        kept = await known_archive(everfold.log, archive)
        steps = story(await job_history(everfold.log, job_id, kept))
    if diff is not None:
        _tell_changes(_state_at(steps, diff[0]), _state_at(steps, diff[1]), session)
    elif at:
        _tell_state(_state_at(steps, at), session)
    else:
        _tell_story(steps, session)
    return 0


def _state_at(steps: list[Step], point: str) -> Job:
    """Return the state after the last event up to a point; before the first, an empty one."""
    if point.isdigit() and int(point) <= len(steps):
        return steps[int(point) - 1].job if int(point) else Job()
    if point.isdigit():
        raise InvalidName("point", point, f"the job has {len(steps)} events")
    try:
        until_ms = datetime.fromisoformat(point).timestamp() * 1000
    except ValueError as error:
        wanted = "use a sequence number, or a time such as 2026-11-23T10:15:00"
        raise InvalidName("point", point, wanted) from error
    return next((step.job for step in reversed(steps) if step.time_ms <= until_ms), Job())


def _tell_story(steps: list[Step], session: Session) -> None:
    if session.json:
        for step in steps:
            told = {name: getattr(step, name) for name in Step.__struct_fields__ if name != "job"}
            emit({**told, "status": step.job.status})
        return
    table = plain_table({"time": 12, "seq": 4, "epoch": 5, "gap": 8, "who": 12}, "what")
    for step in steps:
        style = MARKS.get(step.mark) or STYLES.get(step.job.status, "")
        style = style if step.mark or step.job.is_terminal else ""
        gap = f"+{step.gap_ms / 1000:.1f} s" if step.gap_ms >= 50 else ""
        cells = (_clock(step.time_ms), str(step.seq), str(step.epoch), gap, step.who)
        table.add_row(*(Text(cell, style) for cell in cells), Text(step.what, style))
    console.print(table)
    console.print(_sum(steps), markup=False)


def _sum(steps: list[Step]) -> str:
    job, recoveries = steps[-1].job, sum(step.mark == "recovery" for step in steps)
    took_s = (steps[-1].time_ms - steps[0].time_ms) / 1000
    runners = {step.job.owner for step in steps} - {""}
    told = f"{job.status} after {took_s:.1f} s, {len(steps)} events, {len(runners)} runner(s), "
    return told + f"{job.attempt} attempt(s), {recoveries} recovery(ies)"


def _tell_state(job: Job, session: Session) -> None:
    if session.json:
        emit(to_json(job))
        return
    for name, (_, value) in changes(Job(), job).items():
        console.print(f"{name:<24} {value}", markup=False)


def _tell_changes(before: Job, after: Job, session: Session) -> None:
    for name, (old, new) in changes(before, after).items():
        if session.json:
            emit({"field": name, "before": old, "after": new})
        else:
            console.print(f"{name:<24} {old!r} -> {new!r}", markup=False)


def _clock(time_ms: int) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(time_ms / 1000))
    return f"{clock}.{time_ms % 1000:03}"
