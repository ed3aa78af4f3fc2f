"""Histories with times, and many of them: what pictures are drawn of."""

from __future__ import annotations

from everfold.streams.events import event as events
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.record import Recorded
from tests.support.histories import FAILURE, SUBMITTED, records_of

Story = list[tuple[int, events.Event]]
START_MS = 1_700_000_000_000
DONE = events.Succeeded(attempt=1, outputs={})
CANCEL, CANCELED = events.CancelRequested(reason="enough"), events.Canceled()


def told(story: Story, job_id: str = "job", start_ms: int = 0) -> list[Recorded]:
    """Return the entries of a story, in which each event has its time."""
    found = records_of([event for _, event in story], job_id)
    return [
        Recorded(
            entry_id=f"{start_ms + at_ms}-{record.seq}",
            job_id=job_id,
            seq=record.seq,
            epoch=record.epoch,
            previous=record.previous,
            event=record.event,
            payload=record.payload,
        )
        for (at_ms, _), record in zip(story, found, strict=True)
    ]


def strange(at_ms: int, seq: int, job_id: str = "job") -> Recorded:
    event = Unreadable("job.teleported", "unknown type", b"{}")
    return Recorded(f"{at_ms}-0", job_id, seq, 1, "0-0", event, b"{}")


def submitting(attempt: int = 1, backend: str = "http://a:8188") -> events.Submitting:
    return events.Submitting(
        attempt=attempt, backend=backend, boot="", prompt_id="p", client_id="c"
    )


def progressed(value: float, attempt: int = 1) -> events.Progressed:
    return events.Progressed(attempt=attempt, value=value, nodes_done=1, nodes_total=2)


def recovered(owner: str = "r2", previous_owner: str = "r1") -> events.Recovered:
    return events.Recovered(
        owner=owner,
        previous_owner=previous_owner,
        crashes=1,
        idle_ms=15_000,
        reason="lease_expired",
    )


def lost(attempt: int = 1, backend: str = "http://a:8188") -> events.Lost:
    return events.Lost(attempt=attempt, backend=backend, cause="backend_restarted")


def retried(attempt: int = 1) -> events.Retried:
    return events.Retried(attempt=attempt, failure=FAILURE, not_before_ms=0)


def begun(owner: str = "r1", backend: str = "http://a:8188", at_ms: int = 0) -> Story:
    """Submitted, claimed 100 ms later, started 300 ms later."""
    return [
        (at_ms, SUBMITTED),
        (at_ms + 100, events.Claimed(owner=owner)),
        (at_ms + 150, submitting(1, backend)),
        (at_ms + 200, events.Queued(attempt=1, prompt_id="p", number=1)),
        (at_ms + 300, events.Started(attempt=1)),
    ]


def failed(attempt: int = 1) -> events.Failed:
    return events.Failed(attempt=attempt, failure=FAILURE)


def crowd(jobs: int) -> list[list[Recorded]]:
    """Return histories of many jobs of all kinds on four backends, one begun every 700 ms."""
    return [
        told(_member(i), f"0190a3f2-7b1c-7def-8000-{i * 2654435761 % 2**48:012x}", START_MS)
        for i in range(jobs)
    ]


def _member(i: int) -> Story:
    begin, owner = i * 700, f"runner-{i % 4}"
    story = begun(owner, f"http://gpu-{i % 4}:8188", begin)
    at = begin + 1_000 + i * 37 % 1_900
    story.append((at, progressed(0.5)))
    match i % 10:
        case 1:
            story += [(at + 4_000, recovered("runner-9", owner)), (at + 4_300, progressed(0.6))]
            story += [(at + 6_000, DONE)]
        case 2:
            story += [(at + 500, retried()), (at + 2_000, events.Claimed(owner="runner-9"))]
            story += [(at + 2_100, submitting(2)), (at + 2_300, events.Started(attempt=2))]
            story += [(at + 3_500, failed(2))]
        case 3:
            story += [(at + 300, CANCEL), (at + 900, CANCELED)]
        case 4:
            story += [(at + 600, lost()), (at + 700, retried())]
        case 5:
            pass
        case _:
            story += [(at + 2_500, DONE)]
    return story
