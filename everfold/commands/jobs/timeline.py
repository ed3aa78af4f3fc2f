"""`everfold audit timeline`: what happened to jobs, as a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from everfold.archives.opening import known_archive
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.archive import Place
from everfold.commands.words import STYLES, console, emit
from everfold.streams.errors import Misconfigured
from everfold.streams.redis.server import server_time_ms
from everfold.timeline.moments import span
from everfold.timeline.reading import read_tracks
from everfold.timeline.svg import svg as picture
from everfold.timeline.terminal import terminal
from everfold.timeline.trace import trace as traced
from everfold.timeline.tracks import Track


async def timeline(
    *job: str,
    since: str | None = None,
    until: str | None = None,
    user: str | None = None,
    by: Literal["job", "backend"] = "job",
    svg: Annotated[Path | None, Parameter(negative="")] = None,
    trace: Annotated[Path | None, Parameter(negative="")] = None,
    archive: Place = "",
    session: Session = DEFAULT,
) -> None:
    """Draw what happened to jobs over time: waiting, running, recovering, and how they ended.

    Parameters
    ----------
    job
        Ids of jobs; all jobs when none is given.
    since
        Only jobs with an event from then on, drawn from then on: an age (10m, 2h) or a time.
    until
        Only jobs with an event until then, as they were then.
    user
        Only jobs of this user.
    by
        A row for each job, or for each backend.
    svg
        Write an SVG picture into this file instead.
    trace
        Write Chrome trace JSON into this file instead, for ui.perfetto.dev.
    """
    async with session.open() as everfold:
        now_ms = await server_time_ms(everfold.log.redis)
        kept = await known_archive(everfold.log, archive)
        wanted = span(since, until, now_ms)
        tracks = await read_tracks(everfold.log, job, wanted, user, now_ms, kept)
    if not tracks:
        if not session.json:
            console.print("no jobs found")
        return
    if svg is not None:
        _write(svg, picture(tracks, by, _title(tracks, session)), tracks, session)
    if trace is not None:
        _write(trace, msgspec.json.encode(traced(tracks, by)).decode(), tracks, session)
    if svg is None and trace is None:
        _show(tracks, by, session)


def _show(tracks: Sequence[Track], by: str, session: Session) -> None:
    if session.json:
        for track in tracks:
            emit(track)
        return
    for line in terminal(tracks, console.width, STYLES, by):
        console.print(line)


def _write(path: Path, content: str, tracks: Sequence[Track], session: Session) -> None:
    """Write a picture into its file. Raises Misconfigured when that is not possible."""
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from error
    if session.json:
        emit({"file": str(path), "jobs": len(tracks)})
    else:
        console.print(f"{path}: {len(tracks):,} job(s)", markup=False)


def _title(tracks: Sequence[Track], session: Session) -> str:
    start_ms = min(track.start_ms for track in tracks)
    begin = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(start_ms / 1000))
    return f"everfold {session.namespace}: {len(tracks):,} job(s) from {begin}"
