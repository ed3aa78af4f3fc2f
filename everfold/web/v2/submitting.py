"""Makes jobs: checks what is sent, and submits it once for each Idempotency-Key of a caller.

Rule: the job is in the log before the answer is sent, whole, by one script. So a repeated request
finds it, whichever gateway takes that, and a key whose request failed is still free.
"""

from __future__ import annotations

from starlette.responses import Response

from everfold.streams.appending.body import PARTNER_KEYS
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import (
    IdempotencyConflict,
    InputRefused,
    InvalidWorkflow,
    JobUnknown,
    NoServerCanRun,
    ServerUnreachable,
)
from everfold.streams.events.json_text import NotJson, decoder
from everfold.web.bodies import json_answer, read_json
from everfold.web.caller import Caller
from everfold.web.files.server_files import check_server_files, inputs_of
from everfold.web.operation import Call, callback_of
from everfold.web.problem import Problem
from everfold.web.v2.job_answer import job_answer
from everfold.web.v2.jobs import place_of_call
from everfold.web.v2.labels import checked_labels
from everfold.web.v2.shapes import JobBody

KEY_LIMIT = 255

POLICY = {"previews": "collect"}
"""A client of this API has nothing but outputs to get a PreviewImage's picture from."""

_read_graph = decoder(dict[str, object])


async def create_job(call: Call) -> Response:
    """Submit a job, or find the one that this key has made. Answers 201 both times."""
    key = idempotency_key_of(call)
    body = await read_json(call, JobBody)
    workflow, labels = bytes(body.workflow), checked_labels(body.metadata)
    extra_data, partner_keys = _without_keys(body.extra_data or {})
    try:
        _check_names(call.caller, workflow)
        made = await call.gateway.acting_as(call.caller).submit(
            workflow,
            user=call.caller.user,
            metadata=labels,
            idempotency_key=key,
            extra_data=extra_data or None,
            partner_keys=partner_keys or None,
            policy=POLICY,
            callback=callback_of(call),
        )
    except (InvalidWorkflow, NoServerCanRun) as error:
        raise _refused_graph(error, workflow) from error
    except InputRefused as error:
        told = {"input": error.where}
        raise Problem(422, "missing_asset", str(error), details=told) from error
    except IdempotencyConflict as error:
        told = {"job_id": error.job_id, "differs": error.what}
        raise Problem(422, "idempotency_key_reuse", str(error), details=told) from error
    try:
        look = await call.gateway.look(call.caller, made.job_id)
    except JobUnknown as lost:
        # Its server died in this moment. It is put back, and a repeat with the key finds it.
        raise ServerUnreachable("the server has lost the job that it had taken") from lost
    answer = job_answer(look.job, look.position, place_of_call(call))
    return json_answer(answer, 201, {"Location": answer.urls.self})


def idempotency_key_of(call: Call) -> str | None:
    """Return the key of a request, None without one. Raises Problem for one that cannot be."""
    key = call.request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= KEY_LIMIT or not key.isascii() or not key.isprintable():
        rule = f"Idempotency-Key has 1 to {KEY_LIMIT} printable ASCII characters"
        raise Problem(400, "invalid_idempotency_key", rule)
    if not key.strip():
        raise Problem(400, "invalid_idempotency_key", "Idempotency-Key is blank; leave it out")
    return key


def _without_keys(extra_data: dict[str, object]) -> tuple[dict[str, object], dict[str, Secret]]:
    """Return what is sent beside the graph, and apart from it the keys for partner nodes."""
    others = {name: value for name, value in extra_data.items() if name not in PARTNER_KEYS}
    keys = dict[str, Secret]()
    for name in PARTNER_KEYS:
        value = extra_data.get(name)
        if value is None:
            continue
        if not isinstance(value, str):  # never shown: it may be the key in another form
            raise Problem(422, "invalid_request", f"extra_data.{name} is no text")
        keys[name] = Secret(value)
    return others, keys


def _check_names(caller: Caller, workflow: bytes) -> None:
    try:
        graph = {} if caller.sees_all else _read_graph(workflow)
    except NotJson:
        return  # the submit says what is wrong with it
    check_server_files(caller, inputs_of(graph))


def _refused_graph(error: InvalidWorkflow | NoServerCanRun, workflow: bytes) -> Problem:
    """Return the problem of a graph that no server takes, with node errors as ComfyUI has them."""
    if isinstance(error, NoServerCanRun):
        told = {"node_errors": error.node_errors}
        return Problem(422, "invalid_workflow", str(error), details=told)
    code = "workflow_format_ui" if _is_of_editor(workflow) else "invalid_workflow"
    return Problem(422, code, str(error), details={"node_errors": {}})


def _is_of_editor(workflow: bytes) -> bool:
    try:
        return isinstance(_read_graph(workflow).get("nodes"), list)
    except NotJson:
        return False
