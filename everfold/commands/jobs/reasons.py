"""Tells people who wait for a job why it waits, on stderr only.

Rule: one line for each reason, after nothing has happened for a while; never in what programs read.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

import anyio

from everfold.client import Everfold
from everfold.commands.output import warn
from everfold.commands.session import Session
from everfold.projector.job.job import Job
from everfold.streams.errors import EverfoldError

QUIET_S = 2.0
"""A job of which nothing was heard for so long is looked at."""
LOOK_EVERY_S = 0.5
TIMES = ("_s", "_ms")
"""Endings of the names of values that change by themselves: they make no other reason."""


@contextlib.asynccontextmanager
async def telling_why(everfold: Everfold, job_id: str, session: Session) -> AsyncIterator[None]:
    """While this is entered, print why the job waits, and again whenever the reason changes."""
    if session.json:
        yield
        return
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_tell, everfold, job_id)
        try:
            yield
        except Exception as error:
            failure = error  # as it is, not in a group
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _tell(everfold: Everfold, job_id: str) -> None:
    seq, quiet_since_s, told = 0, anyio.current_time(), ""
    while True:
        await anyio.sleep(LOOK_EVERY_S)
        with contextlib.suppress(EverfoldError):  # whoever waits meets the same, and says so
            job = await everfold.get(job_id)
            if job.seq != seq:
                seq, quiet_since_s = job.seq, anyio.current_time()
            if anyio.current_time() - quiet_since_s < QUIET_S:
                continue
            found = await everfold.why(job_id)
            mark = f"{found.code} {_lasting(found.details)}"
            if found.code != "ended" and mark != told:
                told = mark
                warn(found.sentence)


def _lasting(details: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in details.items() if not name.endswith(TIMES)}


async def sentence_of(everfold: Everfold, job: Job) -> str:
    """Return why an open job waits, or what it does; empty for one that has ended."""
    return "" if job.is_terminal else (await everfold.why(job.job_id)).sentence
