"""How a job's head and its stored state differ from what the log says."""

from __future__ import annotations

from collections.abc import Sequence

from everfold.projector.job.evolve import evolve
from everfold.projector.job.invariants import Difference, Trace
from everfold.projector.job.job import Job
from everfold.projector.job.state import to_fields
from everfold.streams.events.record import Recorded

Head = dict[bytes, bytes]


def text(head: Head, name: bytes) -> str:
    """Return a field of the head, empty where it has none."""
    return head.get(name, b"").decode(errors="replace")


def head_differences(
    trace: Trace, head: Head, events: Sequence[Recorded], job: Job
) -> list[Difference]:
    """Return how the head differs from the log, as just read and as walked through before.

    `job` is what `events` fold to.
    """
    job_id, found = trace.job_id, list[Difference]()
    last = events[-1] if events else None
    seq = max(trace.seq, last.seq if last else 0)
    if text(head, b"seq") != str(seq):
        found.append(Difference(1, job_id, "head", f"seq {seq}", f"seq {text(head, b'seq')}"))
    if last is None:
        gone = f"nothing at {text(head, b'last')}"
        return [*found, Difference(1, job_id, "head", f"entry {trace.entry_id} or later", gone)]
    if text(head, b"epoch") != str(last.epoch):
        epoch = f"epoch {text(head, b'epoch')}"
        found.append(Difference(3, job_id, "head", f"epoch {last.epoch}", epoch))
    status = text(head, b"status")
    if job.seq < last.seq:  # an event in between cannot be read here, and has changed the state
        job = evolve(job, last)
    if status != (job.status if job.is_terminal else "open"):
        found.append(Difference(2, job_id, "head", job.status, status))
    return found


def state_differences(job_id: str, state: Job, events: Sequence[Recorded]) -> list[Difference]:
    """Return how the stored state differs from the fold at the same sequence number."""
    job = Job()
    for record in events:
        if record.seq > state.seq:
            break
        job = evolve(job, record)
    if job == state:
        return []
    names = set(to_fields(job, state)) | set(to_fields(state, job))
    return [
        Difference(
            4,
            job_id,
            f"field {name} at event {state.seq}",
            str(getattr(job, name, "?")),
            str(getattr(state, name, "?")),
        )
        for name in sorted(names)
        if hasattr(job, name)
    ]
