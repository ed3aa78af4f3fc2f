"""The identity of an attempt: computed, so that it is known even when its record was lost; and what
a log without its newest events must be told of one again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from everfold.projector.job.job import Job
from everfold.runner.backend import Attempt
from everfold.streams.events.event import (
    CancelRequested,
    Event,
    OutputSaved,
    Queued,
    Started,
    Stopping,
    Submitting,
)
from everfold.streams.events.ids import JOB_NAMESPACE


def attempt_of(job_id: str, number: int, generation: str) -> Attempt:
    """Return attempt `number` (from 1) of a job; the same arguments give the same ids.

    `generation` is that of the namespace: a job id may come back after the namespace was made
    anew, and ComfyUI does not refuse a prompt id that it has executed before.
    """
    prompt = uuid.uuid5(JOB_NAMESPACE, f"{generation}/{job_id}/{number}")
    return Attempt(
        job_id=job_id,
        number=number,
        prompt_id=str(prompt),
        client_id=uuid.uuid5(prompt, "client").hex,
    )


def forgotten(seen: Job, found: Job) -> Iterator[Event]:
    """Yield what a log has to be told again, in order: the attempt that may be alive, and a cancel.

    `seen` is the newest state that the server had acknowledged, `found` the one that it came back
    with. Nothing is told of an attempt that is over, also by word of another runner: the next one
    follows.
    """
    if found.is_terminal:
        return
    if seen.is_canceling and not found.is_canceling:
        yield CancelRequested(reason=seen.reason)
    is_known = found.attempt == seen.attempt
    is_over = found.attempt > seen.attempt or (is_known and not found.may_be_alive)
    if is_over or not seen.may_be_alive:
        return
    if not is_known:
        yield Submitting(
            attempt=seen.attempt,
            backend=seen.backend,
            boot=seen.boot,
            server=seen.server,
            prompt_id=seen.prompt_id,
            client_id=seen.client_id,
        )
    yield from _since_its_intent(seen, found if is_known else Job(attempt_state="intended"))


def _since_its_intent(seen: Job, found: Job) -> Iterator[Event]:
    number = seen.attempt
    if seen.attempt_state == "accepted" and found.attempt_state == "intended":
        yield Queued(
            attempt=number,
            prompt_id=seen.prompt_id,
            number=None if seen.number < 0 else seen.number,
            problems=seen.problems,
        )
    if seen.started_at_ms and not found.started_at_ms:
        yield Started(attempt=number)
    for node, output in seen.outputs.items():
        if node not in found.outputs:
            yield OutputSaved(attempt=number, node=node, output=output)
    if seen.stopping and not found.stopping:
        yield Stopping(attempt=number, why=seen.stopping)
