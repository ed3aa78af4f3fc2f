"""Checks of what a caller gives: workflows, metadata, names and ids, before anything is written.

Rule: pure, and each refusal names what was wrong, where, and what to do.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from everfold.streams.errors import InvalidName, InvalidWorkflow, TooLarge
from everfold.streams.events.event import Fact

WORKFLOW_LIMIT_BYTES = 4 * 1024 * 1024
"""Of the canonical JSON. Large real graphs have a few hundred KiB."""

METADATA_LIMIT_BYTES = 64 * 1024
"""Of the JSON: metadata is kept in the log and in every state hash."""

ID_LIMIT = 200
"""Characters of job ids, user names, kinds and idempotency keys."""

EVENT_ID_LIMIT = 64
"""Characters of event ids: the head of a job keeps several of them."""

_EVENT_ID = re.compile(r"[!-~]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")

EXPORT_HINT = (
    "In ComfyUI choose Workflow > Export (API) (older versions: enable the dev mode options, "
    "then Save (API Format)) and submit that file"
)


class CheckedWorkflow(msgspec.Struct, frozen=True):
    """A workflow in canonical JSON: keys sorted, no spaces. Equal graphs have equal bytes."""

    json: bytes
    sha256: str
    """Of `json`, in hex."""


def check_workflow(workflow: object) -> CheckedWorkflow:
    """Return the graph in canonical form; `workflow` is a mapping, or its JSON as text or bytes.

    Raises InvalidWorkflow with a hint what to do, or TooLarge above WORKFLOW_LIMIT_BYTES.
    """
    if isinstance(workflow, str | bytes):
        workflow = _parse(workflow)
    if not isinstance(workflow, Mapping):
        raise InvalidWorkflow(
            f"a workflow is an object of nodes, not {_kind(workflow)}. {EXPORT_HINT}"
        )
    _refuse_other_formats(workflow)
    for node, body in workflow.items():
        _check_node(node, body)
    return _canonical(workflow)


def _parse(text: str | bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidWorkflow(f"the workflow is not JSON: {error}") from error


def _refuse_other_formats(workflow: Mapping[object, object]) -> None:
    if isinstance(workflow.get("nodes"), list):
        raise InvalidWorkflow(
            "this workflow is in the format of ComfyUI's editor (it has `nodes` and `links`), "
            f"which a server cannot run. {EXPORT_HINT}"
        )
    if isinstance(workflow.get("prompt"), Mapping) and "class_type" not in workflow:
        raise InvalidWorkflow(
            "this is the body of a POST /prompt; submit the value of its `prompt` only"
        )
    if not workflow:
        raise InvalidWorkflow(f"the workflow has no nodes. {EXPORT_HINT}")


def _check_node(node: object, body: object) -> None:
    if not isinstance(node, str):
        raise InvalidWorkflow(f"node ids are strings, not {_kind(node)} ({node!r})")
    if not isinstance(body, Mapping):
        raise InvalidWorkflow(f"node {node!r} is {_kind(body)}, not an object. {EXPORT_HINT}")
    if not isinstance(body.get("class_type"), str):
        raise InvalidWorkflow(f"node {node!r} has no `class_type`. {EXPORT_HINT}")
    # A node without inputs is accepted by ComfyUI and then kills its worker thread for good.
    if not isinstance(body.get("inputs"), Mapping):
        raise InvalidWorkflow(
            f"node {node!r} ({body['class_type']}) has no `inputs` object; "
            "write {} where a node has none, or remove the node"
        )


def _canonical(workflow: Mapping[object, object]) -> CheckedWorkflow:
    try:
        encoded = _encoded(workflow, "deterministic")
    except ValueError as error:
        raise InvalidWorkflow(f"the workflow cannot be written as JSON: {error}") from error
    if len(encoded) > WORKFLOW_LIMIT_BYTES:
        raise TooLarge("the workflow", len(encoded), WORKFLOW_LIMIT_BYTES)
    return CheckedWorkflow(encoded, hashlib.sha256(encoded).hexdigest())


def _encoded(value: object, order: Literal["deterministic"] | None = None) -> bytes:
    """Return the JSON of `value`. Raises ValueError for whatever JSON cannot say."""
    try:
        encoded = msgspec.json.encode(value, order=order)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error
    # msgspec writes null for these, which would be another value than the one that was given.
    if b"null" in encoded and _is_not_finite(value):
        raise ValueError("it holds a number that is not finite")
    return encoded


def _is_not_finite(value: object) -> bool:
    """Say whether NaN or an infinity is anywhere in it."""
    left = [value]
    while left:
        match left.pop():
            case float(number) if not math.isfinite(number):
                return True
            case dict(items):
                left += items.values()
            case list(items) | tuple(items):
                left += items
    return False


def check_metadata(metadata: Mapping[str, object]) -> dict[str, object]:
    """Return a plain copy of an object of JSON values.

    Raises InvalidName for what is not JSON, TooLarge above METADATA_LIMIT_BYTES.
    """
    if not all(isinstance(name, str) for name in metadata):
        raise InvalidName("metadata", metadata, "its names must be strings")
    try:
        encoded = _encoded(metadata)
    except ValueError as error:
        raise InvalidName("metadata", metadata, f"it cannot be written as JSON: {error}") from error
    if len(encoded) > METADATA_LIMIT_BYTES:
        raise TooLarge("the metadata", len(encoded), METADATA_LIMIT_BYTES)
    return msgspec.json.decode(encoded, type=dict[str, object])


def check_name(what: str, name: object) -> str:
    """Return the name of a queue, namespace or runner, which becomes part of keys.

    `what` says in the error whose name it is. Raises InvalidName.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidName(what, name, "use 1 to 64 letters, digits, dots, hyphens or underscores")
    return name


def check_job_id(job_id: object) -> str:
    """Return the id: at most ID_LIMIT characters that keys can carry. Raises InvalidName."""
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise InvalidName(
            "job id", job_id, f"use 1 to {ID_LIMIT} letters, digits, or any of . _ : -"
        )
    return job_id


def check_event_id(event_id: object) -> str:
    """Return the id: 1 to EVENT_ID_LIMIT visible ASCII characters. Raises InvalidName."""
    if not isinstance(event_id, str) or not _EVENT_ID.fullmatch(event_id):
        rule = f"use 1 to {EVENT_ID_LIMIT} visible ASCII characters, such as a UUID"
        raise InvalidName("event id", event_id, rule)
    return event_id


def author_of(event: Fact) -> str:
    """Return under which name the head of a job remembers the event's id: its actor, or "-" for
    all whose actor is no name."""
    return event.actor if _NAME.fullmatch(event.actor) else "-"


def check_text(what: str, text: object) -> str:
    """Return a free text of one line and at most ID_LIMIT characters: user, kind, idempotency key.

    Raises InvalidName or TooLarge.
    """
    if not isinstance(text, str):
        raise InvalidName(what, text, "it must be a string")
    if len(text) > ID_LIMIT:
        raise TooLarge(what, len(text), ID_LIMIT, "characters")
    if not text.isprintable():
        raise InvalidName(what, text, "it must not hold control characters")
    return text


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> str:
    """Return a value that is one of `choices`. Raises InvalidName, which lists them."""
    if value not in choices:
        raise InvalidName(what, value, f"choose one of {', '.join(choices)}")
    return value


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else f"a {type(value).__name__}"
