"""`everfold audit show JOB`: what happened to a job, who did it, and its state at any point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from everfold.archives.opening import known_archive
from everfold.client import to_json
from everfold.commands.audit.story_file import write_story
from everfold.commands.formats import STYLES, clock
from everfold.commands.options import ArchiveUrl, AssetsPlace, JobId, chosen
from everfold.commands.output import Cell, complain, say
from everfold.commands.session import DEFAULT, Session
from everfold.commands.times import A_TIME, moment, to_ms
from everfold.durations import duration_text
from everfold.event_text import EventLine, changes, event_lines
from everfold.moments import moment_text
from everfold.projector.job.job import Job
from everfold.projector.reading.short_ids import find_job_id
from everfold.streams.errors import InvalidName
from everfold.streams.retention.history import job_history

MARKS = {"recovery": "red", "runner": "yellow"}


async def show(
    job_id: JobId,
    *,
    at: Annotated[
        str | None,
        chosen(
            "Show the state at this point: a sequence number, an age such as 2h, or a time such as "
            "2026-11-23T10:15:00."
        ),
    ] = None,
    diff: tuple[str, str] | None = None,
    html: Path | None = None,
    archive: ArchiveUrl = "",
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """Show a job's history, event by event, archived events included.

    Parameters
    ----------
    diff
        Show what changed between two such points.
    html
        Write the story into this file instead: one page with pictures, lanes and events that opens
        in any browser, also without a network.
    """
    if html is not None:
        await write_story(job_id, html, archive, assets, session)
        return 0
    async with session.log(role="auditor") as log:
        job_id = await find_job_id(log, job_id)
        kept = await known_archive(log, archive)
        events = await job_history(log, job_id, kept)
        lines = event_lines(await log.opened_records(events))
    if diff is not None:
        _show_changes(_state_at(lines, diff[0]), _state_at(lines, diff[1]), session)
    elif at:
        _show_state(_state_at(lines, at), lines[0].time_ms, session)
    else:
        _show_lines(lines, session)
    return 0


def _state_at(lines: list[EventLine], point: str) -> Job:
    """Return the state after the last event up to a point; before the first, an empty one."""
    if point.isdigit() and int(point) <= len(lines):
        return lines[int(point) - 1].job if int(point) else Job()
    if point.isdigit():
        raise InvalidName("point", point, f"the job has {len(lines)} events")
    time = moment(point)
    if time is None:
        raise InvalidName("point", point, f"use a sequence number, or {A_TIME}")
    until_ms = to_ms(time)
    return next((line.job for line in reversed(lines) if line.time_ms <= until_ms), Job())


def _show_lines(lines: list[EventLine], session: Session) -> None:
    def gap(line: EventLine) -> Cell:
        return f"+{duration_text(line.gap_ms / 1000)}" if line.gap_ms >= 50 else ""

    session.show(
        lines,
        {
            "time": lambda line: clock(line.time_ms),
            "seq": lambda line: line.seq,
            "epoch": lambda line: str(line.epoch),
            "gap": gap,
            "who": lambda line: line.who,
            "what": lambda line: line.what,
        },
        style=_style,
        as_json=_line_object,
    )
    if not session.json:
        say(_sum(lines))


def _style(line: EventLine) -> str:
    end = STYLES.get(line.job.status, "") if line.job.is_terminal else ""
    return MARKS.get(line.mark) or end


def _line_object(line: EventLine) -> dict[str, object]:
    fields = {name: getattr(line, name) for name in EventLine.__struct_fields__ if name != "job"}
    return {**fields, "status": line.job.status}


def _sum(lines: list[EventLine]) -> str:
    job, recoveries = lines[-1].job, sum(line.mark == "recovery" for line in lines)
    took_s = (lines[-1].time_ms - lines[0].time_ms) / 1000
    runners = {line.job.owner for line in lines} - {""}
    counts = {
        "events": len(lines),
        "runners": len(runners),
        "attempts": job.attempt,
        "recoveries": recoveries,
    }
    words = ", ".join(f"{number:,} {_noun(name, number)}" for name, number in counts.items())
    return f"{job.status} after {duration_text(took_s)}: {words}"


def _noun(plural: str, number: int) -> str:
    if number != 1:
        return plural
    return f"{plural[:-3]}y" if plural.endswith("ies") else plural[:-1]


def _show_state(job: Job, first_ms: int, session: Session) -> None:
    if not job.seq:
        complain(f"there was no such job yet: its first event came at {moment_text(first_ms)}")
    fields = (f"{name:<24} {value}" for name, (_, value) in changes(Job(), job).items())
    session.tell(to_json(job), *fields)


def _show_changes(before: Job, after: Job, session: Session) -> None:
    for name, (old, new) in changes(before, after).items():
        change = {"field": name, "before": old, "after": new}
        session.tell(change, f"{name:<24} {old!r} -> {new!r}")
