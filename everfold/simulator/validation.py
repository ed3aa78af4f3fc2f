"""Validates a submitted graph, with ComfyUI's words and shapes.

Rule: pure, but for the files it asks `Files` for. An invalid output is dropped while another one is
valid. Only nodes that an output needs are checked: an orphan without inputs reaches the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from everfold.simulator.nodes.shapes import Files, InputFile, InputSpec, NodeShape, choices

Graph = dict[str, dict[str, object]]
Complaint = dict[str, object]

LONGEST_LIST = 20
"""A list of more choices is not repeated in an error."""


class Verdict(Struct, frozen=True):
    outputs: list[str]
    """The output nodes that will run; empty when the graph is refused."""
    error: Complaint | None
    node_errors: dict[str, Complaint]


class Link(NamedTuple):
    """An input that comes from another node."""

    source: str
    slot: int


class Catalogue(NamedTuple):
    """The node classes and the files that a graph is checked against."""

    shapes: Mapping[str, NodeShape]
    files: Files


def validate(graph: Graph, catalogue: Catalogue, targets: list[str] | None = None) -> Verdict:
    """Check a graph; its values are converted in place, as ComfyUI stores them."""
    found: list[str] = []
    for node_id, node in graph.items():
        class_type = node.get("class_type")
        if not isinstance(class_type, str):
            return _refused("invalid_prompt", _no_class(), f"Node ID '#{node_id}'")
        if class_type not in catalogue.shapes:
            message = f"Cannot execute because node {class_type} does not exist."
            return _refused("invalid_prompt", message, f"Node ID '#{node_id}'")
        if catalogue.shapes[class_type].is_output and (targets is None or node_id in targets):
            found.append(node_id)
    if not found:
        return _refused("prompt_no_outputs", "Prompt has no outputs", "")
    return _validate_outputs(graph, catalogue, found)


def _validate_outputs(graph: Graph, catalogue: Catalogue, outputs: list[str]) -> Verdict:
    errors: dict[str, list[Complaint]] = {}
    sound: list[str] = []
    dependents: dict[str, list[str]] = {}
    for output in outputs:
        needed = _needed(graph, output)
        for node_id in needed:
            if node_id not in errors:
                errors[node_id] = _node_errors(graph, catalogue, node_id)
            if errors[node_id]:
                dependents.setdefault(node_id, []).append(output)
        if not any(errors[node_id] for node_id in needed):
            sound.append(output)
    node_errors = {
        node_id: {
            "errors": errors[node_id],
            "dependent_outputs": dependents[node_id],
            "class_type": graph[node_id]["class_type"],
        }
        for node_id in sorted(dependents)
    }
    if sound:
        return Verdict(sound, None, node_errors)
    own = [error for output in outputs for error in errors[output]]
    details = "\n".join(f"{error['message']}: {error['details']}" for error in own)
    refused = _error(
        "prompt_outputs_failed_validation", "Prompt outputs failed validation", details
    )
    return Verdict([], refused, node_errors)


def _needed(graph: Graph, output: str) -> list[str]:
    found: list[str] = []
    waiting = [output]
    while waiting:
        node_id = waiting.pop()
        if node_id not in found:
            found.append(node_id)
            sources = [link.source for link in links(graph[node_id]).values()]
            waiting += [source for source in sources if source in graph]
    return found


def links(node: dict[str, object]) -> dict[str, Link]:
    """Return the inputs of a node that come from another one."""
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        return {}
    return {
        name: Link(str(value[0]), value[1])
        for name, value in inputs.items()
        if isinstance(value, list) and len(value) == 2
    }


def _node_errors(graph: Graph, catalogue: Catalogue, node_id: str) -> list[Complaint]:
    node = graph[node_id]
    inputs = node.get("inputs")
    given: dict[str, object] = inputs if isinstance(inputs, dict) else {}
    shape = catalogue.shapes[str(node["class_type"])]
    errors: list[Complaint] = []
    for name, spec in {**shape.required, **shape.optional}.items():
        if name in given:
            errors += _input_errors(graph, catalogue, given, name, spec)
        elif name in shape.required:
            errors.append(
                _error("required_input_missing", "Required input is missing", name, input_name=name)
            )
    return errors


def _input_errors(
    graph: Graph, catalogue: Catalogue, given: dict[str, object], name: str, spec: InputSpec
) -> list[Complaint]:
    if isinstance(given[name], list):
        return _link_errors(graph, catalogue, name, spec, given[name])
    return _value_errors(catalogue.files, given, name, spec)


def _link_errors(
    graph: Graph, catalogue: Catalogue, name: str, spec: InputSpec, link: object
) -> list[Complaint]:
    config = list(choices(spec, catalogue.files))
    if not isinstance(link, list) or len(link) != 2 or str(link[0]) not in graph:
        words = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        return [_error("bad_linked_input", words, name, name, config, link)]
    returns = catalogue.shapes[str(graph[str(link[0])]["class_type"])].returns
    received = returns[link[1]] if link[1] < len(returns) else "nothing"
    if "*" in (spec[0], received) or received == spec[0]:
        return []
    details = f"{name}, received_type({received}) mismatch input_type({config[0]})"
    words = "Return type mismatch between linked nodes"
    return [_error("return_type_mismatch", words, details, name, config, link)]


def _value_errors(
    files: Files, given: dict[str, object], name: str, spec: InputSpec
) -> list[Complaint]:
    if isinstance(wrapped := given[name], dict) and "__value__" in wrapped:
        given[name] = wrapped["__value__"]
    if isinstance(spec[0], InputFile):
        return _file_errors(files, name, str(given[name]))
    kind, options = choices(spec, files)
    if isinstance(kind, list):
        return _choice_errors(kind, name, given[name], [kind, options])
    if kind not in ("INT", "FLOAT", "BOOLEAN", "STRING"):
        return []
    try:
        value = _converted(str(kind), given[name])
    except (TypeError, ValueError) as error:
        words = f"Failed to convert an input value to a {kind} value"
        details = f"{name}, {given[name]}, {error}"
        return [_error("invalid_input_type", words, details, name, list(spec), given[name])]
    # The stored graph is the normalised one.
    given[name] = value
    return _range_errors(name, value, options, spec)


def _file_errors(files: Files, name: str, value: str) -> list[Complaint]:
    if files.has_upload(value):
        return []
    details = f"{name} - Invalid image file: {value}"
    words = "Custom validation failed for node"
    return [_error("custom_validation_failed", words, details, name)]


def _choice_errors(
    allowed: list[str], name: str, value: object, config: Sequence[object]
) -> list[Complaint]:
    if value in allowed:
        return []
    is_long = len(allowed) > LONGEST_LIST
    shown = f"(list of length {len(allowed)})" if is_long else str(allowed)
    error = _error(
        *("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}"),
        *(name, None if is_long else config, value),
    )
    return [error]


def _range_errors(
    name: str, value: object, options: dict[str, object], spec: InputSpec
) -> list[Complaint]:
    if isinstance(value, bool | str):
        return []
    assert isinstance(value, int | float)
    least, most = options.get("min"), options.get("max")
    if isinstance(least, int | float) and value < least:
        words = f"Value {value} smaller than min of {least}"
        return [_error("value_smaller_than_min", words, name, name, list(spec), value)]
    if isinstance(most, int | float) and value > most:
        words = f"Value {value} bigger than max of {most}"
        return [_error("value_bigger_than_max", words, name, name, list(spec), value)]
    return []


def _converted(kind: str, value: object) -> object:
    if kind == "INT":
        return int(value)  # type: ignore[call-overload]
    if kind == "FLOAT":
        return float(value)  # type: ignore[arg-type]
    return bool(value) if kind == "BOOLEAN" else str(value)


def _error(
    kind: str,
    message: str,
    details: str,
    input_name: str | None = None,
    config: Sequence[object] | None = None,
    received: object = None,
) -> Complaint:
    extra: dict[str, object] = {}
    if input_name is not None:
        extra["input_name"] = input_name
    if config is not None or received is not None:
        extra |= {"input_config": config, "received_value": received}
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def _refused(kind: str, message: str, details: str) -> Verdict:
    return Verdict([], _error(kind, message, details), {})


def _no_class() -> str:
    return "Cannot execute because a node is missing the class_type property."
