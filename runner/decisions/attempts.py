"""The identity of an attempt: computed, so that it is known even when its record was lost."""

from __future__ import annotations

import uuid

from everfold.runner.backend import Attempt
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
