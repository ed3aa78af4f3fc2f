"""What the answer to a claim or a take-over says of one job.

Rule: nothing is asked; what is told here comes from the answer and from what was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from everfold.streams.appending.memory.memory import Memory
from everfold.streams.appending.memory.remembered import Remembered
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.events.event import Claimed, Recovered
from everfold.streams.events.record import Recorded, recorded
from everfold.streams.redis import scripts


def remember_lease(
    memory: Memory, job: scripts.Reply, event: Claimed | Recovered, payload: bytes
) -> None:
    """Remember that a lease has begun, and by which event."""
    job_id, _, seq, entry_id = job[:4]
    where = (cast("bytes", entry_id).decode(), payload, steady_s(), event.id)
    memory.note(Remembered(cast("bytes", job_id).decode(), event.id, int(seq), *where))


PLACES = 2**51
"""So many places each priority has, see lua/include/places.lua."""


def taken_places(queue: str, jobs: Sequence[scripts.Reply]) -> list[tuple[str, str, int]]:
    """Return queue, priority and the highest place of these jobs; [] in the shared layout."""
    taken: dict[str, int] = {}
    for job in jobs:
        if job[8]:
            place, priority = int(cast("bytes", job[8])) % PLACES, cast("bytes", job[4]).decode()
            taken[priority] = max(place, taken.get(priority, 0))
    return [(queue, priority, place) for priority, place in taken.items()]


def history_of(job: scripts.Reply, claimed: Claimed, payload: bytes) -> tuple[Recorded, ...]:
    """Return a job's first event and its claim where the reply of the claim has both, else ()."""
    if not job[7]:  # a job that was claimed before
        return ()
    job_id, epoch, seq, entry_id = job[:4]
    first = recorded(*cast("tuple[bytes, list[bytes]]", job[7]))
    claim = Recorded(
        entry_id=cast("bytes", entry_id).decode(),
        job_id=cast("bytes", job_id).decode(),
        seq=int(seq),
        epoch=int(epoch),
        previous=first.entry_id,
        event=claimed,
        payload=payload,
    )
    return first, claim
