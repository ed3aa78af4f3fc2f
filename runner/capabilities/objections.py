"""Why no server of a farm would run a graph, before any of them is asked.

Rule: pure. One server that may accept the graph is enough, and one of which nothing is known may.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from everfold.runner.capabilities.fits import Missing, Server, able, missing, why_none
from everfold.runner.capabilities.model_names import list_names, read_graph
from everfold.runner.capabilities.node_check import Complaint, Graph, complaint
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.runner.capabilities.validation import Verdict, validate
from everfold.runner.loose_json import as_list, as_object, as_text
from everfold.streams.assets.graph_inputs import has_reference
from everfold.streams.events.needs import Needs

UNLIKE_LIMIT = 8
"""Servers that differ in what they have of which a graph is checked; it passes where there are
more."""
SHOWN_LIMIT = 5
"""Most errors that the sentence names."""


class Objection(Struct, frozen=True):
    """Why a graph is refused."""

    why: str
    node_errors: dict[str, Complaint]
    """As ComfyUI's 400 has them: node id -> errors."""
    is_missing: bool
    """Something is missing on every server, so that the job could wait for one that has it."""
    error: Complaint = {}
    """Why the whole graph is refused, as `error` in the body of a 400."""


class Passed(Struct, frozen=True):
    """A graph that a server may run."""

    node_errors: dict[str, Complaint] = {}
    """What every server would leave out although it runs the rest, as a 200 of ComfyUI has it.
    Empty where the servers differ, or one of them is not known."""


def judge(
    workflow: bytes,
    needs: Needs,
    servers: Sequence[Server],
    targets: Sequence[object] | None = None,
) -> Objection | Passed:
    """Say whether a server may run a graph (JSON); one passes where no server is known.

    Of `targets`, where given, only those that are outputs are run, and checked.
    """
    if not servers:
        return Passed()
    fit = able(servers, needs)
    if not fit:
        best = min(servers, key=lambda one: len(missing(needs, one.info, one.labels)))
        return _missing(workflow, needs, best, why_none(servers, needs), targets)
    unlike = {id(one.info): one.info for one in fit if one.info is not None}
    if any(one.info is None for one in fit) or len(unlike) > UNLIKE_LIMIT:
        return Passed()
    first: Verdict | None = None
    for info in unlike.values():
        verdict = _verdict(workflow, info, targets)
        if verdict.error is None:
            return Passed(verdict.node_errors if len(unlike) == 1 else {})
        first = first or verdict
    assert first is not None
    return Objection(_words(first), first.node_errors, False, first.error or {})


def _verdict(workflow: bytes, info: ObjectInfo, targets: Sequence[object] | None) -> Verdict:
    graph = read_graph(workflow)
    list_names(graph, info)
    return validate(graph, info, targets, is_replaced=has_reference)


def _missing(
    workflow: bytes, needs: Needs, server: Server, why: str, targets: Sequence[object] | None
) -> Objection:
    """Return what is wrong on one server: unknown classes, else what it would answer."""
    other = complaint("prompt_outputs_failed_validation", why, "")
    lacks: tuple[Missing, ...] = missing(needs, server.info, ()) if server.info else ()
    if server.info is None or not lacks:
        return Objection(why, {}, True, other)
    unknown = _unknown_nodes(read_graph(workflow), server.info)
    if unknown:
        first = as_list(next(iter(unknown.values()))["errors"])[0]
        return Objection(why, unknown, True, as_object(first))
    verdict = _verdict(workflow, server.info, targets)
    return Objection(why, verdict.node_errors, True, verdict.error or other)


def _unknown_nodes(graph: Graph, info: ObjectInfo) -> dict[str, Complaint]:
    found: dict[str, Complaint] = {}
    for node_id, node in graph.items():
        class_type = as_text(node.get("class_type"))
        if class_type in info.classes:
            continue
        title = as_text(as_object(node.get("_meta")).get("title")) or class_type
        extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
        words = f"Node '{title}' not found. The custom node may not be installed."
        error = complaint("missing_node_type", words, f"Node ID '#{node_id}'", extra)
        found[node_id] = {"errors": [error], "dependent_outputs": [], "class_type": class_type}
    return found


def _words(verdict: Verdict) -> str:
    said = [
        f"{as_text(entry['class_type'])} (node {node_id}): {_words_of(as_object(error))}"
        for node_id, entry in verdict.node_errors.items()
        for error in as_list(entry["errors"])
    ]
    if not said:
        error = verdict.error or {}
        return f"every server would refuse the workflow: {_words_of(error)}"
    more = f"; and {len(said) - SHOWN_LIMIT} more" if len(said) > SHOWN_LIMIT else ""
    return f"every server would refuse the workflow: {'; '.join(said[:SHOWN_LIMIT])}{more}"


def _words_of(error: Complaint) -> str:
    message, details = as_text(error.get("message")), as_text(error.get("details"))
    return f"{message}: {details[:300]}" if details else message
