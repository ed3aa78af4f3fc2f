"""Files that a job has made and that are not stored before its end: clients ask for them at once.

Rule: only a file that the job's own events name, of its present attempt. It comes from the job's
server; where that cannot be asked, from the store once the job has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response

from everfold.assets.job_files import job_files
from everfold.projector.job.job import Job
from everfold.streams.errors import InvalidName, JobUnknown
from everfold.web.comfyui.files.found_file import (
    FileName,
    FoundFile,
    job_and_name,
    names_file,
    of_job,
)
from everfold.web.comfyui.server.connections import BackendRequest, passed
from everfold.web.feeds.job_feed import JobFeed
from everfold.web.feeds.ring import Overtaken
from everfold.web.operation import Call

NAMED_WITHIN_S = 2.0
"""Seconds for which a file that no event names is waited for: a server's own message tells of it
before the event is in the log."""
STORED_WITHIN_S = 20.0
"""Seconds for which one is waited for that its server does not give."""


async def coming_file(call: Call, name: FileName) -> Response | FoundFile | None:
    """Return a file that a job of the caller has just made; None for any other.

    Raises a leaf of Unavailable.
    """
    job_id, of_server = job_and_name(name)
    if name.kind == "input" or not job_id:
        return None
    try:
        job = await call.gateway.job(call.caller, job_id)
    except (JobUnknown, InvalidName):
        return None
    if job.is_terminal:
        return None
    async with call.gateway.feeds.open(job_id) as feed:
        named = await _until(feed, of_server, NAMED_WITHIN_S, is_named)
        if not named:
            return None
        if not feed.job.is_terminal and (answer := await _from_server(call, feed, of_server)):
            return answer
        await _until(feed, of_server, STORED_WITHIN_S, lambda job, _: job.is_terminal)
        return await of_job(call, feed.job, of_server)


def is_named(job: Job, name: FileName) -> bool:
    """Say whether a job's events name a file."""
    return any(names_file(name, file) for file in job_files(job))


async def _until(
    feed: JobFeed, name: FileName, within_s: float, is_so: Callable[[Job, FileName], bool]
) -> bool:
    """Wait until something is so of a job, or it has ended. Say whether it is so."""
    place = feed.changes.end
    try:
        async with asyncio.timeout(within_s):
            while not is_so(feed.job, name) and not feed.job.is_terminal:
                try:
                    place += len(await feed.changes.after(place))
                except Overtaken:
                    place = feed.changes.end
    except TimeoutError:
        pass
    return is_so(feed.job, name)


async def _from_server(call: Call, feed: JobFeed, name: FileName) -> Response | None:
    attempt, backend = feed.job.attempt, feed.job.backend
    asked = BackendRequest(
        method="GET",
        path="/view",
        params=(
            *(("filename", name.filename), ("subfolder", name.subfolder)),
            ("type", name.kind),
        ),
    )
    answer = await call.gateway.backends.ask(backend, asked)
    if answer is None:
        return None
    # What ends in between may have been made anew, by another attempt.
    if answer.status_code != 200 or feed.job.attempt != attempt or not is_named(feed.job, name):
        await answer.aclose()
        return None
    return passed(answer)
