"""Events that the runners of an older release cannot read: who meets one, and how its job ends.

Rule: an event of a newer release is a `rewound` whose number stands in `Server.strange`. What
remains of a job, and how it ends, is the product's own code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.runner.execution.unreadable_job import Remains, ending_of, may_be_alive, remains_of
from everfold.streams.appending.log import UNLEASED
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from tests.simulation.process import REDIS
from tests.simulation.tasks import Steps, ask

if TYPE_CHECKING:
    from tests.simulation.runner import Runner
    from tests.simulation.server import Server

ALL, OLD = "all", "old"
"""What a runner reads: everything, or nothing that is strange."""


LONGEST_WAIT_S = 600.0
"""The product waits for a day, which is longer than a simulated run."""


class CannotRead(Exception):
    """The job has an event that this runner cannot read."""


def seen_by(server: Server, reads: str, job_id: str) -> list[Recorded]:
    """Return a job's events as a runner that reads so much sees them."""
    strange = server.strange.get(job_id, []) if reads == OLD else []
    hidden = Unreadable("job.annotated", "of a newer release", b"")
    return [
        replace(record, event=hidden) if record.seq in strange else record
        for record in server.records[job_id]
    ]


def job_seen_by(server: Server, reads: str, job_id: str) -> Job | None:
    """Return the job's present state, None where it cannot be read."""
    return None if reads == OLD and server.strange.get(job_id) else server.states[job_id][-1]


def wait_ms(runner: Runner, job_id: str) -> int:
    """Return for how long a job waits for a runner that can read it."""
    records = seen_by(runner.world.server, runner.reads, job_id)
    wait_s = min(remains_of(fold(records), records).wait_s, LONGEST_WAIT_S)
    return int(wait_s * 1000)


def end_blocked(runner: Runner, job_id: str, reason: str = "unreadable") -> Steps[None]:
    """End a job that nobody holds, and that this runner may not be able to read."""
    server, event_id = runner.world.server, runner.world.new_id()
    records = yield from ask(REDIS, lambda: seen_by(server, runner.reads, job_id), "read_job")
    remains = remains_of(fold(records), records)
    yield from _note_abandoned(runner, job_id, remains)
    event = ending_of(remains, reason, abandoned=may_be_alive(remains))
    yield from ask(
        REDIS,
        lambda: server.append(job_id, event_id, event, UNLEASED, expected=records[-1].seq),
        "append",
    )


def _note_abandoned(runner: Runner, job_id: str, remains: Remains) -> Steps[None]:
    server = runner.world.server
    noted = {prompt.prompt_id: prompt for prompt in remains.abandoned(job_id, since_ms=0)}
    if noted:
        yield from ask(REDIS, lambda: server.abandoned.update(noted), "note_abandoned")


def promote_blocked(runner: Runner) -> Steps[None]:
    server = runner.world.server
    over = yield from ask(REDIS, lambda: server.promote_blocked(runner.reads), "promote_blocked")
    for job_id in over:
        yield from end_blocked(runner, job_id)


def end_unstarted(runner: Runner, job_id: str) -> Steps[None]:
    """End a job that was blocked and is overdue; one that has started meets its deadline."""
    records = seen_by(runner.world.server, runner.reads, job_id)
    remains = remains_of(fold(records), records)
    if remains.has_started and remains.cancel is None:
        runner.world.server.deadlines.pop(job_id, None)
    else:
        yield from end_blocked(runner, job_id, "queue_deadline")
