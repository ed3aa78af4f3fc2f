"""POST /prompt: a graph becomes a job.

Rule: a prompt id that the client chose is an idempotency key: the same prompt sent again is the
same job, and is not run twice. Temporary pictures are stored like others, since clients show them.
"""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from everfold.streams.errors import (
    IdempotencyConflict,
    InvalidWorkflow,
    NoServerCanRun,
    Refused,
    TooLarge,
)
from everfold.submitting import SubmittedJob
from everfold.web.bodies import json_answer, read_json
from everfold.web.comfyui.extensions.naming import labels_of
from everfold.web.comfyui.files.given_files import files_of
from everfold.web.comfyui.jobs.prompt_request import PromptRequest, read_prompt
from everfold.web.comfyui.jobs.shown_job import CLIENT_ID, INPUT_NAMES, SHIFT
from everfold.web.comfyui.prompt_ids import key_of
from everfold.web.files.server_files import check_server_files, inputs_of
from everfold.web.operation import Call, callback_of
from everfold.web.problem import Problem

POLICY = {"previews": "collect"}
"""Of jobs that ComfyUI's clients submit: they show what PreviewImage has made."""


class Accepted(Struct, frozen=True, kw_only=True):
    """The body of the 200 to POST /prompt."""

    prompt_id: str
    number: int
    node_errors: dict[str, dict[str, object]] = {}


async def post_prompt(call: Call) -> Response:
    """Answer POST /prompt."""
    prompt = read_prompt(await body_of(call))
    made = await _submitted(call, prompt)
    shift = SHIFT if prompt.is_first else 0
    accepted = Accepted(
        prompt_id=prompt.prompt_id or made.job_id,
        number=made.submitted_at_ms - shift,
        node_errors=made.node_errors,
    )
    return json_answer(accepted)


async def body_of(call: Call) -> dict[str, object]:
    """Return the body of a request, an object. Raises Problem 400 for anything else."""
    try:
        return await read_json(call, dict[str, object])
    except Problem as problem:
        if problem.status != 422:
            raise
        raise Problem(400, "invalid_request", "The body is no object") from problem


async def _submitted(call: Call, prompt: PromptRequest) -> SubmittedJob:
    files = await files_of(call, prompt.graph)
    metadata: dict[str, object] = {CLIENT_ID: prompt.client_id} if prompt.client_id else {}
    if files.names:
        metadata[INPUT_NAMES] = files.names
    try:
        check_server_files(call.caller, inputs_of(prompt.graph), files.inputs)
        return await call.gateway.acting_as(call.caller).submit(
            prompt.graph,
            user=call.caller.user,
            metadata=metadata,
            idempotency_key=key_of(prompt.prompt_id) if prompt.prompt_id else None,
            priority="high" if prompt.is_first else "normal",
            policy=POLICY,
            extra_data=prompt.extra_data or None,
            needs=labels_of(prompt.graph, await call.gateway.sampled.backends()),
            inputs=files.inputs or None,
            callback=callback_of(call),
        )
    except NoServerCanRun as error:
        raise _invalid(error) from error
    except IdempotencyConflict as error:
        words = "This prompt_id belongs to another prompt"
        raise Problem(400, "prompt_id_in_use", words, details={"details": str(error)}) from error
    except InvalidWorkflow as error:
        raise Problem(400, "invalid_prompt", str(error)) from error
    except TooLarge as error:
        raise Problem(413, "too_large", str(error)) from error
    except Refused as error:
        raise Problem(400, "invalid_request", str(error)) from error


def _invalid(error: NoServerCanRun) -> Problem:
    """Return ComfyUI's 400 for a graph that no server would run."""
    told = {"message": error.why, **error.error}
    kind = str(told.get("type", "prompt_outputs_failed_validation"))
    # ComfyUI looks no further than the first node that it does not know.
    node_errors = {} if kind == "missing_node_type" else error.node_errors
    return Problem(400, kind, str(told["message"]), details={**told, "node_errors": node_errors})
