"""`everfold submit workflow.json`: submits a job, and waits for it if asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import anyio
import msgspec
from cyclopts import Parameter

from everfold.client import Everfold
from everfold.commands.app import app
from everfold.commands.config.config_file import policy_settings
from everfold.commands.jobs.given_files import NO_FILES, GivenFiles
from everfold.commands.jobs.input_options import NO_INPUTS, InputOptions
from everfold.commands.jobs.policy_options import NONE_GIVEN, PolicyOptions, named_settings
from everfold.commands.jobs.reasons import telling_why
from everfold.commands.jobs.server_options import ANY_SERVER, ServerOptions
from everfold.commands.jobs.watching import Longest, naming, say_that_it_goes_on, show_until_ended
from everfold.commands.numbers import at_most
from everfold.commands.options import AssetsPlace
from everfold.commands.session import DEFAULT, Session
from everfold.commands.times import FutureTime
from everfold.policy_settings import PolicyValue
from everfold.projector.job.words import Priority
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.events.json_text import NotJson, decoder, read_json
from everfold.streams.events.workflow_check import check_workflow
from everfold.submitting import SubmittedJob
from everfold.workflow_file import read_workflow

Workflow = Annotated[
    Path,
    at_most(
        "graph",
        "The workflow's file, - for standard input. In ComfyUI: Workflow > Export (API).",
    ),
]
Kind = Annotated[str, at_most("text", "The kind of job, for lists and statistics.")]
Owner = Annotated[str, at_most("text", "The user whose job it is.")]
Metadata = Annotated[
    list[str] | None,
    at_most("metadata", "Data of your own, as name=value. Repeat the option for more."),
]
Key = Annotated[
    str | None, at_most("text", "A repeated submit with the same key returns the first job.")
]
Callback = Annotated[str, at_most("callback", "A URL that is told of the job's end, https://...")]
Batch = Annotated[str, at_most("name", "A name that many jobs share; see `everfold batches`.")]
Tags = Annotated[
    list[str] | None,
    at_most("tag", "A word of your own, to list jobs by. Repeat the option for more."),
]
Queue = Annotated[str, at_most("name", "The job's queue. Only runners that serve it take the job.")]

Traceparent = Annotated[
    str | None,
    Parameter(
        env_var="TRACEPARENT",
        help="The span that submits, as W3C writes it: the job's trace goes on from it.",
    ),
]

_decode_graph = decoder(dict[str, dict[str, object]])


async def submit(
    workflow: Workflow,
    *,
    kind: Kind = "",
    user: Owner = "",
    metadata: Metadata = None,
    set_: Annotated[list[str] | None, Parameter(name="--set")] = None,
    idempotency_key: Key = None,
    queue: Queue = "default",
    priority: str = "normal",
    callback: Callback = "",
    run_at: FutureTime | None = None,
    policy: list[str] | None = None,
    options: PolicyOptions = NONE_GIVEN,
    batch: Batch = "",
    tag: Tags = None,
    files: GivenFiles = NO_FILES,
    inputs: InputOptions = NO_INPUTS,
    assets: AssetsPlace = None,
    servers: ServerOptions = ANY_SERVER,
    traceparent: Traceparent = None,
    wait: bool = False,
    timeout: Longest = None,
    session: Session = DEFAULT,
) -> int:
    """Submit a workflow in ComfyUI's API format.

    Parameters
    ----------
    set_
        Change an input of the graph: NODE.INPUT=VALUE. VALUE is JSON, else a text. Repeat the
        option for more.
    priority
        high, normal or low.
    run_at
        The job does not run before this time. 15m or 2h count from now.
    policy
        The policy options below as NAME=VALUE: retries=3, run_deadline=15m, backend_away=none.
        Repeat the option for more.
    wait
        Show the job's progress until it has ended. The exit code is 0 only if it succeeded.
    """
    _check_timeout(timeout, wait=wait)
    graph, settings = with_inputs(read_workflow(workflow), set_ or []), policy_settings(app)
    fields, given = fields_of(policy or [], options), files.read()
    async with session.open("client", assets) as everfold:
        made = await everfold.submit(
            graph, kind=kind, user=user, idempotency_key=idempotency_key, queue=queue, batch=batch,
            metadata=dict(pair("--metadata", text) for text in metadata or []), tags=tag or (),
            priority=cast("Priority", priority), callback=callback, run_at=run_at,
            inputs=inputs.given(), policy=settings.policy(queue, kind, fields),
            extra_data=given.extra_data, partner_keys=given.partner_keys, traceparent=traceparent,
            input_rules=inputs.rules(), **servers.given(),
        )  # fmt: skip
        if not wait:
            return _tell(made, session)
        return await _wait(everfold, made.job_id, timeout, session)


def _check_timeout(timeout: float | None, *, wait: bool) -> None:
    if timeout is not None and not wait:
        raise Misconfigured("--timeout is how long --wait waits: give both, or neither")


async def _wait(everfold: Everfold, job_id: str, timeout: float | None, session: Session) -> int:
    with naming(job_id):
        try:
            with anyio.fail_after(timeout):
                async with telling_why(everfold, job_id, session):
                    return await show_until_ended(everfold, job_id, session)
        except TimeoutError:
            return say_that_it_goes_on(job_id, timeout or 0, session)


def _tell(made: SubmittedJob, session: Session) -> int:
    note = "" if made.created else "  (an earlier submit with this key created it)"
    session.tell(made, f"{made.job_id}{note}")
    return 0


def with_inputs(workflow: bytes, changes: list[str]) -> bytes:
    """Return the workflow with NODE.INPUT=VALUE changes made. Raises InvalidName."""
    if not changes:
        return workflow
    graph = _decode_graph(check_workflow(workflow).json)
    for change in changes:
        place, text = pair("--set", change)
        node, _, name = place.partition(".")
        if node not in graph or not name:
            known = ", ".join(sorted(graph))
            raise InvalidName("--set", change, f"write NODE.INPUT=VALUE; the nodes are {known}")
        inputs = cast("dict[str, object]", graph[node]["inputs"])
        if name not in inputs:
            known = ", ".join(sorted(inputs))
            raise InvalidName("--set", change, f"node {node} has no such input; it has {known}")
        inputs[name] = _value(text)
    return msgspec.json.encode(graph)


def fields_of(named: list[str], options: PolicyOptions) -> dict[str, PolicyValue]:
    """Return the policy's fields that this call sets. Raises InvalidName for one that is set twice.

    `named` are NAME=VALUE settings.
    """
    first, second = named_settings(named), options.given()
    for name in first.keys() & second.keys():
        raise InvalidName("--policy", name, "a flag of its own sets it, too: give it once")
    return first | second


def pair(option: str, text: str) -> tuple[str, str]:
    """Split name=value. Raises InvalidName."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidName(option, text, "write it as name=value")
    return name, value


def _value(text: str) -> object:
    try:
        return read_json(text)
    except NotJson:
        return text
