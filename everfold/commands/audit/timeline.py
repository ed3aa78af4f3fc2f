"""`everfold audit timeline`: what happened to jobs, as a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from everfold.archives.opening import known_archive
from everfold.commands.formats import STYLES
from everfold.commands.new_file import new_file
from everfold.commands.numbers import number
from everfold.commands.options import ArchiveUrl, User
from everfold.commands.output import console, say
from everfold.commands.session import DEFAULT, Session
from everfold.commands.times import PastTime, to_ms
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import Misconfigured
from everfold.streams.redis.server import server_time_ms
from everfold.timeline.groups import grouping_of
from everfold.timeline.reading import Span, read_tracks, titled
from everfold.timeline.summary import summary
from everfold.timeline.svg import svg as picture
from everfold.timeline.svg_lanes import svg_lanes
from everfold.timeline.trace import trace as traced
from everfold.timeline.tracks import Track

MANY = 60
"""More jobs than these are drawn as lanes of groups, unless a row for each is asked for."""

Grouping = Literal["job", "queue", "user", "kind", "batch", "backend"]


async def timeline(
    *job: str,
    since: Annotated[PastTime | None, Parameter(name=("--since", "--from"))] = None,
    until: PastTime | None = None,
    user: User = None,
    group_by: Annotated[Grouping | None, Parameter(name=("--group-by", "--by"))] = None,
    limit: Annotated[
        int | None, number("limit", "The most jobs to draw: those that began last.")
    ] = None,
    svg: Path | None = None,
    trace: Path | None = None,
    archive: ArchiveUrl = "",
    session: Session = DEFAULT,
) -> None:
    """Draw what happened to jobs over time: waiting, running, recovering, and how they ended.

    Below the picture stand how many jobs have each status, and how long they waited and ran. Ids
    are short; every command takes them.

    Parameters
    ----------
    job
        Ids of jobs, or parts of them as for `jobs show`. Default: all jobs.
    since
        Only jobs with an event since then; the picture begins there.
    until
        Only jobs with an event until then, as they were at that time.
    group_by
        A row for each job, or a lane for each queue, user, kind, batch or backend. Default: rows
        for up to 60 jobs, else the first of these that makes a few lanes.
    svg
        Write an SVG picture into this file instead.
    trace
        Write Chrome trace JSON into this file instead, for ui.perfetto.dev.
    """
    span = Span(to_ms(since) if since else None, to_ms(until) if until else None)
    if span.since_ms is not None and span.is_after(span.since_ms):
        raise Misconfigured(f"--since {since:%c} is later than --until {until:%c}")
    async with session.open("reader") as everfold:
        now_ms = await server_time_ms(everfold.log.redis)
        kept = await known_archive(everfold.log, archive)
        chosen = [await everfold.find(one) for one in job]
        found = await read_tracks(everfold.log, chosen, span, user, now_ms, kept)
        # Programs know a backend by its address.
        tracks = found if session.json else await titled(everfold.log, found)
    if limit is not None and len(tracks) > limit:
        tracks = sorted(tracks, key=lambda track: track.start_ms)[-limit:]
    if not tracks or (session.json and not (svg or trace)):
        session.show(tracks, {}, empty="no jobs found")
        return
    by = group_by or ("job" if len(tracks) <= MANY else grouping_of(tracks))
    if svg is not None:
        _write(svg, _picture(tracks, by, _title(tracks, session)), tracks, session)
    if trace is not None:
        _write(trace, msgspec.json.encode(traced(tracks, by)).decode(), tracks, session)
    if svg is None and trace is None:
        _draw(tracks, by)


def _picture(tracks: Sequence[Track], by: Grouping, title: str) -> str:
    if _has_rows(tracks, by):
        return picture(tracks, by, title)
    assert by != "job"
    return svg_lanes(tracks, by, title)


def _has_rows(tracks: Sequence[Track], by: Grouping) -> bool:
    """Say whether single jobs are drawn: in rows of their own, or in those of few backends."""
    return by == "job" or (by == "backend" and len(tracks) <= MANY)


def _draw(tracks: Sequence[Track], by: Grouping) -> None:
    from everfold.timeline.terminal import terminal
    from everfold.timeline.terminal_lanes import terminal_lanes

    if _has_rows(tracks, by):
        lines = terminal(tracks, console().width, STYLES, by)
    else:
        assert by != "job"
        lines = terminal_lanes(tracks, console().width, by)
    for line in lines:
        console().print(line)
    for sentence in summary(tracks):
        say(sentence)


def _write(path: Path, content: str, tracks: Sequence[Track], session: Session) -> None:
    """Write a picture into its file. Raises Misconfigured when that is not possible."""
    with new_file(path) as part:
        part.write_text(content, encoding="utf-8")
    session.tell(
        {"file": str(path), "jobs": len(tracks)}, f"{path}: {quantity(len(tracks), 'job')}"
    )


def _title(tracks: Sequence[Track], session: Session) -> str:
    start_ms = min(track.start_ms for track in tracks)
    begin = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(start_ms / 1000))
    return f"everfold {session.namespace}: {quantity(len(tracks), 'job')} from {begin}"
