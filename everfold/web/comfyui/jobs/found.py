"""Finds the jobs that a caller names, or owns."""

from __future__ import annotations

from everfold.projector.job.job import Job
from everfold.streams.errors import JobUnknown
from everfold.web.caller import Caller
from everfold.web.comfyui.prompt_ids import job_ids_of, prompt_id_of
from everfold.web.gateway import Gateway
from everfold.web.operation import Call


async def find(gateway: Gateway, caller: Caller, prompt_id: str) -> Job | None:
    """Return the job that a caller knows by a prompt id; None where it may not see any."""
    for job_id in job_ids_of(gateway.everfold.log.generation, caller.user, prompt_id):
        try:
            return await gateway.job(caller, job_id)
        except JobUnknown:
            continue
    return None


def own_user(call: Call) -> str | None:
    """Return the user whose jobs are meant by "all": the caller's own; None for everybody's, while
    the namespace has no keys. An operator with a key clears nobody else's queue by accident."""
    return call.caller.user if call.caller.key_id else call.caller.scope


def known_as(call: Call, job: Job) -> str:
    """Return the prompt id by which the caller knows a job."""
    return prompt_id_of(job, call.caller.user)
