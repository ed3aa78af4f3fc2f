"""Prompt ids as ComfyUI's clients know jobs by.

Rule: no clock and no I/O. A client that chooses an id gets the job that this id belongs to: the
job's id follows from it, so that nothing is looked up. Any other job's prompt id is its job id. It
is never the id under which an attempt runs on a server.
"""

from __future__ import annotations

import re

from everfold.projector.job.job import Job
from everfold.streams.events.ids import job_id_for

BEFORE = "prompt:"
"""Before a chosen prompt id in the job's idempotency key."""

_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_prompt_id(value: object) -> bool:
    """Say whether a client may choose this id: a UUID in lower case with hyphens."""
    return isinstance(value, str) and _CANONICAL.fullmatch(value) is not None


def key_of(prompt_id: str) -> str:
    """Return the idempotency key of the job with a chosen prompt id."""
    return BEFORE + prompt_id


def prompt_id_of(job: Job, user: str | None = None) -> str:
    """Return a job's prompt id as `user` knows it; None: as its owner does.

    Two users may choose the same id. So everybody but the owner knows a job by its job id.
    """
    chosen = job.idempotency_key.removeprefix(BEFORE)
    is_chosen = chosen != job.idempotency_key and is_prompt_id(chosen)
    return chosen if is_chosen and user in (None, job.user) else job.job_id


def job_ids_of(generation: str, user: str, prompt_id: str) -> tuple[str, ...]:
    """Return the job ids that a prompt id may mean for a user, the likelier one first.

    Empty for what no job can have. `generation` is that of the namespace.
    """
    if not is_prompt_id(prompt_id):
        return ()
    return job_id_for(generation, user, key_of(prompt_id)), prompt_id
