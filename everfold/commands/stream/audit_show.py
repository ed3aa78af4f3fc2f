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
from everfold.event_text import EventLine, changes, event_lines
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
    """Show a job's history, event by event, archived events included.

    Parameters
    ----------
    at
        Show the state as it was then: a sequence number, or a time such as 2026-11-23T10:15:00.
    diff
        Show what changed between two such points.
    """
    async with session.open() as everfold:
        kept = await known_archive(everfold.log, archive)
        lines = event_lines(await job_history(everfold.log, job_id, kept))
    if diff is not None:
        _tell_changes(_state_at(lines, diff[0]), _state_at(lines, diff[1]), session)
    elif at:
        _tell_state(_state_at(lines, at), session)
    else:
        _show_lines(lines, session)
    return 0


def _state_at(lines: list[EventLine], point: str) -> Job:
    """Return the state after the last event up to a point; before the first, an empty one."""
    if point.isdigit() and int(point) <= len(lines):
        return lines[int(point) - 1].job if int(point) else Job()
    if point.isdigit():
        raise InvalidName("point", point, f"the job has {len(lines)} events")
    try:
        until_ms = datetime.fromisoformat(point).timestamp() * 1000
    except ValueError as error:
        wanted = "use a sequence number, or a time such as 2026-11-23T10:15:00"
        raise InvalidName("point", point, wanted) from error
    return next((line.job for line in reversed(lines) if line.time_ms <= until_ms), Job())


def _show_lines(lines: list[EventLine], session: Session) -> None:
    if session.json:
        for line in lines:
            fields = {name: getattr(line, name) for name in EventLine.__struct_fields__}
            del fields["job"]
            emit({**fields, "status": line.job.status})
        return
    table = plain_table({"time": 12, "seq": 4, "epoch": 5, "gap": 8, "who": 12}, "what")
    for line in lines:
        style = MARKS.get(line.mark) or STYLES.get(line.job.status, "")
        style = style if line.mark or line.job.is_terminal else ""
        gap = f"+{line.gap_ms / 1000:.1f} s" if line.gap_ms >= 50 else ""
        cells = (_clock(line.time_ms), str(line.seq), str(line.epoch), gap, line.who)
        table.add_row(*(Text(cell, style) for cell in cells), Text(line.what, style))
    console.print(table)
    console.print(_sum(lines), markup=False)


def _sum(lines: list[EventLine]) -> str:
    job, recoveries = lines[-1].job, sum(line.mark == "recovery" for line in lines)
    took_s = (lines[-1].time_ms - lines[0].time_ms) / 1000
    runners = {line.job.owner for line in lines} - {""}
    told = f"{job.status} after {took_s:.1f} s, {len(lines)} events, {len(runners)} runner(s), "
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
