"""ComfyUI's validation errors in readable words.

Rule: pure and total. A rejection is never retryable: the same graph would be rejected again.
Source: ComfyUI 0.3.64, POST /prompt: a 400, or the `node_errors` of a 200, where ComfyUI drops the
outputs that it cannot make and runs the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from everfold.runner.loose_json import as_list, as_name, as_object, as_text
from everfold.streams.events.event import Failure, NodeProblem

MESSAGE_LIMIT = 300
"""Characters kept of one error: that of a missing checkpoint lists all installed ones."""

REQUEST_ERRORS = frozenset({"invalid_prompt_id"})
"""Errors of the request that carried the graph, not of the graph."""


SERVER_ERRORS = frozenset(
    {
        *("missing_node_type", "value_not_in_list", "custom_validation_failed"),
        *("exception_during_validation", "exception_during_inner_validation"),
    }
)
"""Errors that speak of what one server has, or of how its nodes' own code fared there, such as of
an image that is not in its input folder: another server may accept the same graph."""

NO_SUCH_CLASS = re.compile(r"Cannot execute because node .+ does not exist|Node '.*' not found")
"""What servers before `missing_node_type` say of an unknown node class, as `invalid_prompt`."""


def is_rejection(body: dict[str, object]) -> bool:
    """Return whether the body of a 400 is ComfyUI's own, and not that of a gateway before it."""
    error = body.get("error")
    kind = as_text(as_object(error).get("type"))
    return kind in REQUEST_ERRORS or ("node_errors" in body and bool(kind or as_text(error)))


def speaks_of_server(body: dict[str, object]) -> bool:
    """Return whether the graph may pass on a server with other node classes or models."""
    error = as_object(body.get("error"))
    if as_text(error.get("type")) in SERVER_ERRORS or NO_SUCH_CLASS.search(
        as_text(error.get("message"))
    ):
        return True
    problems = read_problems(body.get("node_errors"))
    return bool(problems) and all(_is_of_server(problem) for problem in problems)


def _is_of_server(problem: NodeProblem) -> bool:
    return problem.code in SERVER_ERRORS


def read_problems(node_errors: object) -> list[NodeProblem]:
    """Return one problem per error, in ComfyUI's order; empty for any other value."""
    return [
        problem
        for node, entry in as_object(node_errors).items()
        for problem in _read_node(node, as_object(entry))
    ]


def read_rejection(body: object) -> Failure:
    """Return the failure that the body of a 400 means."""
    parts = as_object(body)
    problems = read_problems(parts.get("node_errors"))
    error = parts.get("error")
    kind = as_text(as_object(error).get("type"))
    return Failure(
        code="submit_rejected" if kind in REQUEST_ERRORS else "invalid_workflow",
        message=_summary(problems) if problems else _headline(error),
        node=problems[0].node if problems else None,
        node_class=problems[0].node_class if problems else None,
        details=problems,
    )


def describe(problem: NodeProblem) -> str:
    """Return one problem as text: node class, node, input and what is wrong."""
    place = f"{problem.node_class or 'a node'} (node {problem.node})"
    return (
        f"{place}, input {problem.input}: {problem.message}"
        if problem.input
        else (f"{place}: {problem.message}")
    )


def _summary(problems: list[NodeProblem]) -> str:
    return "ComfyUI rejected the workflow: " + "; ".join(map(describe, problems))


def _headline(error: object) -> str:
    parts = as_object(error)
    parts_of_text = [as_text(error), as_text(parts.get("message")), as_text(parts.get("details"))]
    text = ": ".join(dict.fromkeys(part for part in parts_of_text if part))
    return f"ComfyUI rejected the workflow: {_clip(text or 'it did not say why')}"


def _read_node(node: str, entry: dict[str, object]) -> Iterator[NodeProblem]:
    for error in map(as_object, as_list(entry.get("errors"))):
        name = as_text(as_object(error.get("extra_info")).get("input_name"))
        yield NodeProblem(
            node=as_name(node),
            node_class=as_name(entry.get("class_type")),
            code=as_name(error.get("type")),
            message=_message(error, name),
            input=as_name(name) or None,
        )


def _message(error: dict[str, object], input_name: str) -> str:
    message = as_text(error.get("message"))
    # The details repeat the name of the input, which has its own field.
    details = as_text(error.get("details")).removeprefix(f"{input_name}: ")
    if not details or details == input_name:
        return _clip(message)
    return _clip(f"{message} ({details})" if message else details)


def _clip(text: str) -> str:
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
