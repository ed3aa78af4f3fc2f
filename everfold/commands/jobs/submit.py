"""`everfold submit workflow.json`: hand a job in, and wait for it if asked to."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from everfold.client import Everfold, read_workflow, to_json
from everfold.commands.jobs.watching import show_until_ended
from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import console, emit
from everfold.projector.job.job import Job
from everfold.streams.errors import InvalidName
from everfold.streams.events.checks import check_workflow


async def submit(
    workflow: Path,
    *,
    kind: str = "",
    user: str = "",
    metadata: Annotated[list[str] | None, Parameter(negative="")] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    idempotency_key: str | None = None,
    queue: str = "default",
    priority: str = "normal",
    run_at: datetime | None = None,
    wait: Annotated[bool, Parameter(negative="")] = False,
    session: Session = DEFAULT,
) -> int:
    """Submit a workflow in ComfyUI's API format.

    Parameters
    ----------
    workflow
        The file: in ComfyUI, Workflow > Export (API).
    kind
        What kind of job it is, for lists and statistics.
    user
        Whose job it is.
    metadata
        name=value, any number of times.
    set_
        NODE.INPUT=VALUE: change an input of the graph; VALUE is JSON where it is valid JSON.
    idempotency_key
        A repeated submit with the same key returns the first job.
    queue
        Only runners that serve this queue take the job.
    priority
        high, normal or low.
    run_at
        Not before this time, such as 2030-01-31T12:00:00.
    wait
        Show its progress until it has ended; exit code 0 only if it succeeded.
    """
    graph = with_inputs(read_workflow(workflow), set_ or [])
    async with session.open() as everfold:
        made = await everfold.submit(
            graph,
            kind=kind,
            user_id=user,
            metadata=dict(pair("--metadata", text) for text in metadata or []),
            idempotency_key=idempotency_key,
            queue=queue,
            priority=priority,
            run_at=run_at,
        )
        if not wait:
            _tell(made.job_id, made.created, session)
            return 0
        return await _wait(everfold, made.job_id, session)


def _tell(job_id: str, created: bool, session: Session) -> None:
    if session.json:
        emit({"job_id": job_id, "created": created})
    else:
        note = "" if created else "  (an earlier submit with this key made it)"
        console.print(f"{job_id}{note}")


async def _wait(everfold: Everfold, job_id: str, session: Session) -> int:
    job = await show_until_ended(everfold, job_id, session.json)
    if session.json:
        emit(to_json(job))
    else:
        tell_end(job)
    return 0 if job.status == "succeeded" else 1


def tell_end(job: Job) -> None:
    """Say how a job ended, and where its outputs are."""
    why = f": {job.error.message.strip()}" if job.error is not None else ""
    reason = f" ({job.reason})" if job.reason and not why else ""
    console.print(f"{job.job_id} {job.status}{reason}{why}", markup=False)
    for node, output in job.outputs.items():
        console.print(f"  node {node}: {json.dumps(output)}", markup=False)


def with_inputs(workflow: bytes, changes: list[str]) -> bytes:
    """Return the workflow with NODE.INPUT=VALUE changes made. Raises InvalidName."""
    if not changes:
        return workflow
    graph: dict[str, dict[str, dict[str, object]]] = json.loads(check_workflow(workflow).json)
    for change in changes:
        place, text = pair("--set", change)
        node, _, name = place.partition(".")
        if node not in graph or not name:
            known = ", ".join(sorted(graph))
            raise InvalidName("--set", change, f"write NODE.INPUT=VALUE; the nodes are {known}")
        graph[node]["inputs"][name] = _value(text)
    return json.dumps(graph).encode()


def pair(option: str, text: str) -> tuple[str, str]:
    """Split name=value. Raises InvalidName."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidName(option, text, "write it as name=value")
    return name, value


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
