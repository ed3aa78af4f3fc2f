"""What POST /prompt is sent, checked.

Rule: no I/O. What ComfyUI answers with 500 is a 400 here, and names what was wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from everfold.streams.appending.body import PARTNER_KEYS, TARGETS
from everfold.streams.events.limits import ID_LIMIT
from everfold.streams.events.workflow_check import EXPORT_HINT
from everfold.web.comfyui.jobs.shown_job import CLIENT_ID
from everfold.web.comfyui.prompt_ids import is_prompt_id
from everfold.web.problem import Problem

EARLIEST_NUMBER = 1_500_000_000_000
"""No job that waits has a lesser number: numbers are times, and this one is in 2017."""

WRAPPED = '{"prompt": GRAPH}'

SETTINGS = ("preview_method",)
"""What clients may send beside the graph and ComfyUI keeps in extra_data."""


class PromptRequest(Struct, frozen=True, kw_only=True):
    """One prompt to be queued."""

    graph: dict[str, object]
    prompt_id: str = ""
    """Chosen by the client; empty for none."""
    client_id: str = ""
    extra_data: dict[str, object] = {}
    is_first: bool = False
    """It is to run before the prompts of the same client that wait."""


def read_prompt(body: Mapping[str, object]) -> PromptRequest:
    """Return what a body asks for. Raises Problem 400, with ComfyUI's types where it has one."""
    if "prompt" not in body:
        raise _refused("no_prompt", "No prompt provided", _how_to_send(body))
    graph = body["prompt"]
    if not isinstance(graph, dict) or not all(isinstance(node, dict) for node in graph.values()):
        raise _refused("invalid_prompt", "The prompt is no graph", EXPORT_HINT)
    for node_id, node in graph.items():
        if not isinstance(node.get("class_type"), str):
            raise _no_class(node_id, node)
    return PromptRequest(
        graph=graph,
        prompt_id=_prompt_id(body.get("prompt_id")),
        client_id=_client_id(body),
        extra_data=_extra_data(body, graph),
        is_first=_is_first(body),
    )


def _how_to_send(body: Mapping[str, object]) -> str:
    """Return what to do with a body that has no prompt: often it is the graph, or a workflow."""
    if isinstance(body.get("nodes"), list):
        return f"this is a workflow of ComfyUI's editor. {EXPORT_HINT}, as {WRAPPED}"
    if any(isinstance(node, dict) and "class_type" in node for node in body.values()):
        return f"the body is the graph itself: send {WRAPPED}"
    return "No prompt provided"


def _prompt_id(value: object) -> str:
    if value is None:
        return ""
    if not is_prompt_id(value):
        how = "send a UUID in lower case with hyphens, or null"
        raise _refused("invalid_prompt_id", "The prompt_id is no canonical UUID", how)
    return str(value)


def _client_id(body: Mapping[str, object]) -> str:
    """Return whose prompt it is: ComfyUI keeps that in extra_data, and takes it from there, too."""
    extra_data = body.get("extra_data")
    value = extra_data.get(CLIENT_ID) if isinstance(extra_data, Mapping) else None
    value = body.get(CLIENT_ID, value)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > ID_LIMIT or not value.isprintable():
        raise _refused(
            "invalid_client_id",
            "The client_id cannot be one",
            f"send a printable text of at most {ID_LIMIT} characters, or null",
        )
    return value


def _extra_data(body: Mapping[str, object], graph: Mapping[str, object]) -> dict[str, object]:
    value = body.get("extra_data")
    if value is not None and not isinstance(value, dict):
        raise _refused("invalid_extra_data", "The extra_data is no object", "send an object")
    # Front ends send an empty key where nobody is logged in.
    no_keys = [name for name in PARTNER_KEYS if (value or {}).get(name) in ("", None)]
    extra_data = {name: one for name, one in (value or {}).items() if name not in no_keys}
    extra_data |= {name: body[name] for name in SETTINGS if body.get(name) is not None}
    targets = body.get(TARGETS)
    if targets is None:
        return extra_data
    if not isinstance(targets, list):
        raise _refused("invalid_targets", f"The {TARGETS} are no list", "send a list of node ids")
    known = [node_id for node_id in targets if isinstance(node_id, str) and node_id in graph]
    if not known:
        raise _refused("prompt_no_outputs", "Prompt has no outputs")
    return {**extra_data, TARGETS: known}


def _is_first(body: Mapping[str, object]) -> bool:
    number = body.get("number")
    if number is None:
        return bool(body.get("front"))
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _refused("invalid_number", "The number is none", "send a number, or leave it out")
    return number < EARLIEST_NUMBER


def _no_class(node_id: str, node: Mapping[str, object]) -> Problem:
    found = node.get("_meta")
    title = found.get("title") if isinstance(found, dict) else None
    shown = title if isinstance(title, str) else f"Node ID '#{node_id}'"
    words = "has no class_type. The workflow may be corrupted or a custom node is missing."
    extra = {"node_id": node_id, "class_type": None, "node_title": title}
    return _refused("missing_node_type", f"Node '{shown}' {words}", f"Node ID '#{node_id}'", extra)


def _refused(
    kind: str, message: str, details: str = "", extra_info: Mapping[str, object] | None = None
) -> Problem:
    told: dict[str, object] = {"details": details, "extra_info": dict(extra_info or {})}
    return Problem(400, kind, message, details=told)
