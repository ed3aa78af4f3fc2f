"""`everfold submit workflow.json`: submits a job, and waits for it if asked to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, cast

import msgspec
from cyclopts import Parameter

from everfold.commands.jobs.watching import show_until_ended
from everfold.commands.numbers import at_most
from everfold.commands.session import DEFAULT, Session
from everfold.commands.times import FutureTime, duration_s
from everfold.streams.errors import InvalidName
from everfold.streams.events.event import Policy
from everfold.streams.events.json_text import NotJson, decoder, read_json
from everfold.streams.events.policies import COUNTS, NAMES, check_policy
from everfold.streams.events.workflow_check import check_workflow
from everfold.workflow_file import read_workflow

Workflow = Annotated[
    Path, at_most("graph", "The workflow's file. In ComfyUI: Workflow > Export (API).")
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
Batch = Annotated[str, at_most("name", "A name that many jobs share; see `everfold batches`.")]
Tags = Annotated[
    list[str] | None,
    at_most("tag", "A word of your own, to list jobs by. Repeat the option for more."),
]
Queue = Annotated[str, at_most("name", "The job's queue. Only runners that serve it take the job.")]

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
    run_at: FutureTime | None = None,
    policy: list[str] | None = None,
    batch: Batch = "",
    tag: Tags = None,
    wait: bool = False,
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
        What may be done when things go wrong, as NAME=VALUE: retries=3, run_deadline_s=15m,
        backend_away_s=none. Repeat the option for more.
    wait
        Show the job's progress until it has ended. The exit code is 0 only if it succeeded.
    """
    graph = with_inputs(read_workflow(workflow), set_ or [])
    async with session.open("client") as everfold:
        made = await everfold.submit(
            graph,
            kind=kind,
            user=user,
            metadata=dict(pair("--metadata", text) for text in metadata or []),
            idempotency_key=idempotency_key,
            queue=queue,
            priority=priority,
            run_at=run_at,
            policy=policy_of(policy or []),
            batch=batch,
            tags=tag or (),
        )
        if wait:
            return await show_until_ended(everfold, made.job_id, session)
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
        cast("dict[str, object]", graph[node]["inputs"])[name] = _value(text)
    return msgspec.json.encode(graph)


def policy_of(settings: list[str]) -> Policy:
    """Return the policy with NAME=VALUE settings. Raises InvalidName."""
    made: dict[str, object] = {}
    for setting in settings:
        name, text = pair("--policy", setting)
        if name not in NAMES:
            raise InvalidName("--policy", setting, f"the names are {', '.join(NAMES)}")
        made[name] = _policy_value(name, text)
    return check_policy(msgspec.structs.replace(Policy(), **made))


def _policy_value(name: str, text: str) -> object:
    """Return a number or a duration in seconds; None for `none`, and a text for what is neither."""
    if name in COUNTS:
        return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text
    if text.lower() == "none":
        return None
    seconds = duration_s(text)
    return text if seconds is None else seconds


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
