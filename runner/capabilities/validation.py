"""Checks a graph against what a server lists, with ComfyUI's codes, words and shapes.

Rule: pure and total; what a server may accept passes. Only nodes that an output needs are checked,
and an invalid output is dropped while another one is valid. Source: execution.py of ComfyUI
0.3.64; a cycle is told as newer ones do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from everfold.runner.capabilities.node_check import (
    Complaint,
    Graph,
    Link,
    NodeVerdict,
    check_node,
    complaint,
    config_of,
)
from everfold.runner.capabilities.object_info import ObjectInfo

OwnCheck = Callable[[str, str, object], str]
"""Class, input and value -> why the node's own check refuses it; empty where it does not."""


class Verdict(Struct, frozen=True):
    outputs: list[str]
    """The output nodes that will run; empty when the graph is refused."""
    error: Complaint | None
    """Why the whole graph is refused, as `error` in the body of a 400."""
    node_errors: dict[str, Complaint]
    """As `node_errors` in the body of a 400, or of a 200 where outputs are dropped."""


def validate(
    graph: Graph,
    info: ObjectInfo,
    targets: Sequence[object] | None = None,
    own_check: OwnCheck | None = None,
    is_replaced: Callable[[object], bool] | None = None,
) -> Verdict:
    """Check a graph. Values are converted in place, as ComfyUI stores them.

    Of `targets`, where given, only those that are outputs are checked. Values that `is_replaced`
    says will be others when they are sent are not checked.
    """
    found: list[str] = []
    for node_id, node in graph.items():
        class_type = node.get("class_type")
        if "class_type" not in node:
            return _refused("invalid_prompt", NO_CLASS, f"Node ID '#{node_id}'")
        known = info.classes.get(class_type) if isinstance(class_type, str) else None
        if known is None:
            message = f"Cannot execute because node {class_type} does not exist."
            return _refused("invalid_prompt", message, f"Node ID '#{node_id}'")
        if known.is_output and (targets is None or node_id in targets):
            found.append(node_id)
    if not found:
        return _refused("prompt_no_outputs", "Prompt has no outputs", "")
    return _Validation(graph, info, own_check, is_replaced).check(found)


NO_CLASS = "Cannot execute because a node is missing the class_type property."


class _Checked(NamedTuple):
    is_valid: bool
    reasons: list[Complaint]
    """Its own; a node is invalid without any where one that it needs is invalid."""


class _Visit(NamedTuple):
    node_id: str
    verdict: NodeVerdict
    links: Iterator[Link]
    came_by: Link | None


class _Validation:
    """One graph under check."""

    def __init__(
        self,
        graph: Graph,
        info: ObjectInfo,
        own_check: OwnCheck | None,
        is_replaced: Callable[[object], bool] | None,
    ) -> None:
        self._graph, self._info = graph, info
        self._own_check, self._is_replaced = own_check, is_replaced
        self._checked: dict[str, _Checked] = {}

    def check(self, outputs: list[str]) -> Verdict:
        sound: list[str] = []
        details: list[str] = []
        node_errors: dict[str, Complaint] = {}
        for output in outputs:
            if output not in self._checked:
                self._visit(output)
            is_valid, reasons = self._checked[output]
            if is_valid:
                sound.append(output)
                continue
            details += [f"{reason['message']}: {reason['details']}" for reason in reasons]
            self._note_errors(node_errors, output)
        if sound:
            return Verdict(sound, None, node_errors)
        words = "Prompt outputs failed validation"
        text = "\n".join(details)
        return Verdict([], complaint("prompt_outputs_failed_validation", words, text), node_errors)

    def _note_errors(self, node_errors: dict[str, Complaint], output: str) -> None:
        """Name all errors known so far, those of other outputs too, as ComfyUI does."""
        for node_id, (is_valid, reasons) in self._checked.items():
            if is_valid or not reasons:
                continue
            noted = node_errors.setdefault(
                node_id,
                {
                    "errors": reasons,
                    "dependent_outputs": [],
                    "class_type": self._graph[node_id]["class_type"],
                },
            )
            dependents = noted["dependent_outputs"]
            assert isinstance(dependents, list)
            dependents.append(output)

    def _visit(self, output: str) -> None:
        """Check an output and all that it needs; as deep as the graph is, without recursion."""
        path = {output: self._begin(output, None)}
        while path:
            visit = path[next(reversed(path))]
            link = next(visit.links, None)
            if link is None:
                del path[visit.node_id]
                self._end(visit)
            elif link.source in path:
                self._note_cycle(list(path)[list(path).index(link.source) :])
            elif link.source not in self._checked:
                path[link.source] = self._begin(link.source, link)

    def _begin(self, node_id: str, came_by: Link | None) -> _Visit:
        verdict = check_node(self._graph, self._info, node_id, self._own_check, self._is_replaced)
        return _Visit(node_id, verdict, iter(verdict.links), came_by)

    def _end(self, visit: _Visit) -> None:
        verdict, node_id = visit.verdict, visit.node_id
        if verdict.crash_type:
            reason = _crash(self._info, verdict, visit.came_by)
            self._checked[node_id] = _Checked(False, [reason])
            return
        are_sound = all(
            self._checked[link.source].is_valid
            for link in verdict.links
            if link.source in self._checked
        )
        earlier = self._checked.get(node_id, _Checked(True, []))
        is_valid = earlier.is_valid and are_sound and not verdict.errors
        self._checked[node_id] = _Checked(is_valid, [*earlier.reasons, *verdict.errors])

    def _note_cycle(self, nodes: list[str]) -> None:
        shown = [f"{one} ({self._graph[one]['class_type']})" for one in [*nodes, nodes[0]]]
        for node_id in nodes:
            extra: dict[str, object] = {"node_id": node_id, "cycle_nodes": [*nodes, nodes[0]]}
            reason = complaint(
                "dependency_cycle", "Dependency cycle detected", " -> ".join(shown), extra
            )
            self._checked.setdefault(node_id, _Checked(False, [reason]))


def _crash(info: ObjectInfo, verdict: NodeVerdict, came_by: Link | None) -> Complaint:
    """Return what ComfyUI says where its check of a node raises: the error stands at its parent."""
    if came_by is None:
        extra: dict[str, object] = {"exception_type": verdict.crash_type, "traceback": []}
        words = "Exception when validating node"
        return complaint("exception_during_validation", words, verdict.crash, extra)
    extra = {
        "input_name": came_by.name,
        "input_config": config_of(info, came_by.spec),
        "exception_message": verdict.crash,
        "exception_type": verdict.crash_type,
        "traceback": [],
        "linked_node": came_by.value,
    }
    words = "Exception when validating inner node"
    return complaint("exception_during_inner_validation", words, verdict.crash, extra)


def refusal(verdict: Verdict) -> dict[str, object]:
    """Return the body of the 400 that refuses a graph."""
    return {"error": verdict.error, "node_errors": verdict.node_errors}


def _refused(kind: str, message: str, details: str) -> Verdict:
    return Verdict([], complaint(kind, message, details), {})
