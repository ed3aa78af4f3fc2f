"""Looks at jobs, stops them, and shows what they were made of."""

from __future__ import annotations

import contextlib
import time

import msgspec
from starlette.responses import Response

from everfold.projector.job.job import Job
from everfold.streams.appending.body import read_body
from everfold.streams.errors import CorruptLog, SealKeyMissing
from everfold.streams.events.json_text import NotJson, decoder
from everfold.web.bodies import json_answer
from everfold.web.looks import Look
from everfold.web.operation import Call
from everfold.web.problem import Problem
from everfold.web.v2.addresses import base_of
from everfold.web.v2.job_answer import Place, job_answer
from everfold.web.v2.shapes import JobWorkflow

FORMATS = ("api", "save")


async def get_job(call: Call) -> Response:
    """Answer with a job as it is now."""
    return _answer(call, await call.gateway.look(call.caller, job_id_of(call)))


async def cancel_job(call: Call) -> Response:
    """Request a job to be stopped; answer with it. One that has ended stays as it is."""
    job = (await call.gateway.look(call.caller, job_id_of(call))).job
    if not job.is_terminal:
        with contextlib.suppress(CorruptLog):  # the request is in the log all the same
            await call.gateway.acting_as(call.caller).cancel(job.job_id)
    return _answer(call, await call.gateway.look(call.caller, job.job_id))


async def get_logs(call: Call) -> Response:
    """Answer that there is no log: what a server prints is not of one job."""
    await call.gateway.look(call.caller, job_id_of(call))
    return Response(status_code=204)


async def get_workflow(call: Call) -> Response:
    """Answer with the graph as it was submitted, or with the editor's, where that was sent too."""
    form = call.request.query_params.get("format", "api")
    if form not in FORMATS:
        raise Problem(400, "invalid_request", f"format is one of {', '.join(FORMATS)}")
    job = (await call.gateway.look(call.caller, job_id_of(call))).job
    graph, editors = await _graphs_of(call, job)
    if form == "api":
        return json_answer(JobWorkflow(workflow=graph, format="api"))
    if editors is None:
        raise Problem(404, "not_found", f"job {job.job_id} was sent without an editor's workflow")
    return json_answer(JobWorkflow(workflow=editors, format="save"))


def job_id_of(call: Call) -> str:
    """Return the job that the path names."""
    return str(call.request.path_params["job_id"])


def place_of_call(call: Call) -> Place:
    """Return what the answer to a call needs besides a job."""
    return Place(
        base=base_of(call.request),
        kept_ms=int(call.gateway.settings.kept_s * 1000),
        now_ms=time.time_ns() // 1_000_000,
    )


def _answer(call: Call, look: Look) -> Response:
    return json_answer(job_answer(look.job, look.position, place_of_call(call)))


_read_extra = decoder(dict[str, object])


async def _graphs_of(call: Call, job: Job) -> tuple[msgspec.Raw, msgspec.Raw | None]:
    """Return the graph that was submitted, and the editor's beside it. Raises Problem."""
    log = call.gateway.everfold.log
    try:
        kept = await log.workflow(job.job_id, job.stored)
        stored = None if kept is None else await log.opened_content(kept)
        if stored is None:
            raise Problem(404, "not_found", f"the workflow of job {job.job_id} is no longer kept")
        if not job.body:
            return msgspec.Raw(stored), None
        body = read_body(stored)
        extra_png = _read_extra(bytes(body.extra_data)).get("extra_pnginfo")
    except (NotJson, SealKeyMissing) as error:
        raise Problem(
            404, "not_found", f"the workflow of job {job.job_id} cannot be read"
        ) from error
    editors = extra_png.get("workflow") if isinstance(extra_png, dict) else None
    is_graph = isinstance(editors, dict)
    return body.workflow, msgspec.Raw(msgspec.json.encode(editors)) if is_graph else None
