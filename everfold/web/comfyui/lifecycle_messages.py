"""A job's life in ComfyUI's messages, as its websocket and its history have them.

Rule: pure. Fields and their order are ComfyUI's; times are those of the job's events. What ComfyUI
alone knows, such as the values with which a node failed, is left empty.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, Struct

from everfold.projector.job.job import Job
from everfold.streams.events.event import Failure


class ExecutionStart(Struct, frozen=True, kw_only=True):
    """The prompt begins to run."""

    TYPE: ClassVar = "execution_start"
    prompt_id: str
    timestamp: int
    """Unix ms."""


class ExecutionCached(Struct, frozen=True, kw_only=True):
    """The nodes whose results come from the server's cache."""

    TYPE: ClassVar = "execution_cached"
    nodes: tuple[str, ...]
    prompt_id: str
    timestamp: int


class ExecutionSuccess(Struct, frozen=True, kw_only=True):
    """The prompt has succeeded."""

    TYPE: ClassVar = "execution_success"
    prompt_id: str
    timestamp: int


class ExecutionError(Struct, frozen=True, kw_only=True):
    """The prompt has failed."""

    TYPE: ClassVar = "execution_error"
    prompt_id: str
    node_id: str
    node_type: str
    executed: tuple[str, ...]
    exception_message: str
    exception_type: str
    """The class of a node's exception; `everfold.` and a code where no node has failed."""
    traceback: list[str]
    """Its lines."""
    current_inputs: dict[str, object] = {}
    current_outputs: tuple[str, ...] = ()
    timestamp: int


class ExecutionInterrupted(Struct, frozen=True, kw_only=True):
    """Somebody has stopped the prompt."""

    TYPE: ClassVar = "execution_interrupted"
    prompt_id: str
    node_id: str
    node_type: str
    executed: tuple[str, ...]
    timestamp: int


End = ExecutionSuccess | ExecutionError | ExecutionInterrupted
Message = ExecutionStart | ExecutionCached | End


def execution_start(job: Job, prompt_id: str) -> ExecutionStart:
    """Return the message of a job that runs, or ran."""
    return ExecutionStart(prompt_id=prompt_id, timestamp=job.started_at_ms)


def execution_cached(job: Job, prompt_id: str) -> ExecutionCached:
    """Return the message that follows the start; the nodes are known once the job has ended."""
    return ExecutionCached(nodes=job.cached, prompt_id=prompt_id, timestamp=job.started_at_ms)


def execution_end(job: Job, prompt_id: str) -> End | None:
    """Return the last message of a job that has ended; None for an open one."""
    match job.status:
        case "succeeded":
            return ExecutionSuccess(prompt_id=prompt_id, timestamp=job.ended_at_ms)
        case "canceled":
            return ExecutionInterrupted(
                prompt_id=prompt_id,
                node_id=job.node,
                node_type=job.node_class,
                executed=job.executed,
                timestamp=job.ended_at_ms,
            )
        case "failed" | "expired":
            return execution_error(job, prompt_id)
    return None


def execution_error(job: Job, prompt_id: str) -> ExecutionError:
    """Return why a job has failed, or is too late."""
    late = f"it was not begun in time ({job.reason})"
    failure = job.error or Failure(code=job.reason or "expired", message=late)
    kind = f"everfold.{failure.code}" if failure.exception_type is UNSET else failure.exception_type
    return ExecutionError(
        prompt_id=prompt_id,
        node_id=failure.node or "",
        node_type=failure.node_class or "",
        executed=job.executed,
        exception_message=_own_words(failure),
        exception_type=str(kind),
        traceback=(failure.traceback or "").splitlines(keepends=True),
        timestamp=job.ended_at_ms,
    )


def _own_words(failure: Failure) -> str:
    """Return what the exception said, without the node and the class, which the event has, too."""
    named = f"{failure.node_class or 'a node'} (node {failure.node or '?'}) raised "
    kind = failure.exception_type or "an error"
    return failure.message.removeprefix(f"{named}{kind}: ")


def history_messages(job: Job, prompt_id: str) -> list[tuple[str, Message]]:
    """Return the messages of a job so far, each after its type, as the history has them."""
    found: list[Message] = []
    if job.started_at_ms:
        found += [execution_start(job, prompt_id), execution_cached(job, prompt_id)]
    end = execution_end(job, prompt_id)
    return [(one.TYPE, one) for one in (*found, *([end] if end else []))]
