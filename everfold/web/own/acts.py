"""What is done to one job: cancel, run again, change its priority, give its attempt up."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from everfold.projector.job.job import Job
from everfold.web.bodies import json_answer, read_json
from everfold.web.files.server_files import check_server_files
from everfold.web.operation import Call, Operation
from everfold.web.own.answers import UNDER, Reason, acting, job_id_of, read_optional
from everfold.web.query import Query


class Changes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs in a job that runs again."""

    changes: dict[str, object] = {}
    """Inputs of the graph, such as {"3.seed": 7}, of the types that it has there."""


class Rerun(Struct, frozen=True, kw_only=True):
    """The job that was submitted."""

    job_id: str
    rerun_of: str


class Priority(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A priority."""

    priority: str
    """high, normal or low."""


class ChangedPriority(Struct, frozen=True, kw_only=True):
    """A job that has another priority."""

    job_id: str
    priority: str
    before: str
    position: int | None
    """How many jobs of its queue stand before it; None for one that waits no more."""


async def cancel(call: Call) -> Response:
    """Request a job to be stopped."""
    Query(call.request, ())
    given = await read_optional(call, Reason)
    job = await call.gateway.job(call.caller, job_id_of(call))
    return json_answer(await acting(call).cancel(job.job_id, given.reason))


async def rerun(call: Call) -> Response:
    """Submit a job that has ended once more."""
    Query(call.request, ())
    given = await read_optional(call, Changes)
    job = await call.gateway.job(call.caller, job_id_of(call))
    check_server_files(call.caller, given.changes.items())
    made = await acting(call).rerun(job.job_id, given.changes)
    return json_answer(Rerun(job_id=made, rerun_of=job.job_id), 201)


async def change_priority(call: Call) -> Response:
    """Give a waiting job another priority."""
    Query(call.request, ())
    given = await read_json(call, Priority)
    job = await call.gateway.job(call.caller, job_id_of(call))
    before = await acting(call).change_priority(job.job_id, given.priority)
    told = ChangedPriority(
        job_id=job.job_id,
        priority=given.priority,
        before=before,
        position=await call.gateway.everfold.position(job.job_id),
    )
    return json_answer(told)


async def give_up(call: Call) -> Response:
    """Give up a job's present attempt."""
    Query(call.request, ())
    job = await call.gateway.job(call.caller, job_id_of(call))
    return json_answer(await acting(call).give_up(job.job_id))


ACTS_ON_JOBS: tuple[Operation, ...] = (
    Operation(
        method="POST", path=f"{UNDER}/jobs/{{job_id}}/cancel", answer=cancel, name="cancel",
        summary="Request a job to be stopped; one that has ended is returned as it is.",
        body=Reason, is_body_optional=True, answers={200: Job},
    ),
    Operation(
        method="POST", path=f"{UNDER}/jobs/{{job_id}}/rerun", answer=rerun, name="rerun",
        summary="Submit a job that has ended once more, as a new job.",
        body=Changes, is_body_optional=True, answers={201: Rerun},
    ),
    Operation(
        method="POST", path=f"{UNDER}/jobs/{{job_id}}/priority", answer=change_priority,
        name="change_priority", role="operator",
        summary="Give a waiting job another priority; it stands behind those of its user that "
        "wait with that one.",
        body=Priority, answers={200: ChangedPriority},
    ),
    Operation(
        method="POST", path=f"{UNDER}/jobs/{{job_id}}/give-up", answer=give_up, name="give_up",
        role="operator", answers={200: Job},
        summary="Have a job's present attempt given up, whatever its backend says; it is tried "
        "again if its policy allows.",
    ),
)  # fmt: skip
