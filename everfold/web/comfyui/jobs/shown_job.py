"""A job in ComfyUI's shapes: its number, its outputs, its graph, and what stands beside that.

Rule: pure. A file keeps its name, and its subfolder begins with the job's id: names of different
servers collide, and `/view` finds exactly this job's file. What Everfold adds to outputs is left
out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from everfold.projector.job.job import Job
from everfold.runner.decisions.output_files import CLAIMS, SENT
from everfold.streams.appending.body import TARGETS
from everfold.streams.events.limits import NESTING_LIMIT

SHIFT = 10**13
"""More than any time in ms: the numbers of jobs of high priority are less than all others, and
below zero; those of low priority are greater."""

CLIENT_ID, INPUT_NAMES = "client_id", "input_names"
"""In a job's metadata: the client that submitted it, and place in the graph -> the name that was
given there, where that is not the name of the asset."""

ADDED = CLAIMS | {"name", "size_bytes", "media_type", "width", "height"}
"""What Everfold writes beside a file's own name."""


def number_of(job: Job) -> int:
    """Return ComfyUI's `number` of a job: it grows with each submit, and lesser ones run first."""
    shift = {"high": -SHIFT, "low": SHIFT}.get(job.priority, 0)
    return job.submitted_at_ms + shift


def client_id_of(job: Job) -> str:
    """Return the client that submitted a job, empty for none."""
    found = job.metadata.get(CLIENT_ID)
    return found if isinstance(found, str) else ""


def folder_of(job_id: str, subfolder: str) -> str:
    """Return the subfolder under which clients find a file of a job."""
    return f"{job_id}/{subfolder}" if subfolder else job_id


def shown_output(job_id: str, output: Mapping[str, object]) -> dict[str, object]:
    """Return what one node reported, with the names by which `/view` finds its files."""
    return {key: _shown(job_id, value, NESTING_LIMIT) for key, value in output.items()}


def shown_outputs(job: Job) -> dict[str, dict[str, object]]:
    """Return the outputs of all nodes."""
    return {node: shown_output(job.job_id, output) for node, output in job.outputs.items()}


def history_outputs(job: Job) -> dict[str, dict[str, object]]:
    """Return the outputs of all nodes as the history has them: without pictures that came over the
    websocket. Clients that took them there would take them twice."""
    found = dict[str, dict[str, object]]()
    for node, output in job.outputs.items():
        rest, _ = without_pictures(output)
        if rest or not output:
            found[node] = shown_output(job.job_id, rest)
    return found


def without_pictures(
    output: dict[str, object],
) -> tuple[dict[str, object], list[Mapping[str, object]]]:
    """Return an output without the pictures that came over the connection, and those of them that
    are stored."""
    images = output.get("images")
    if not isinstance(images, list):
        return output, []
    sent = [one for one in images if isinstance(one, dict) and one.get("type") == SENT]
    if not sent:
        return output, []
    rest = [one for one in images if one not in sent]
    others = {key: value for key, value in output.items() if key != "images"}
    stored: list[Mapping[str, object]] = [one for one in sent if one.get("hash")]
    return ({**others, "images": rest} if rest else others), stored


def _shown(job_id: str, value: object, levels: int, *, is_listed: bool = False) -> object:
    if isinstance(value, list) and levels:
        return [_shown(job_id, one, levels - 1, is_listed=True) for one in value]
    if not isinstance(value, dict) or not levels:
        return value
    if is_listed and isinstance(value.get("filename"), str):
        return _file(job_id, value)
    return {key: _shown(job_id, one, levels - 1, is_listed=is_listed) for key, one in value.items()}


def _file(job_id: str, reference: dict[str, object]) -> dict[str, object]:
    told = {key: value for key, value in reference.items() if key not in ADDED}
    subfolder, kind = told.get("subfolder"), told.get("type")
    told["subfolder"] = folder_of(job_id, subfolder if isinstance(subfolder, str) else "")
    # No client knows a file that came over the websocket only.
    told["type"] = "temp" if kind == SENT else kind if isinstance(kind, str) else "output"
    return told


def shown_graph(job: Job, graph: dict[str, object]) -> dict[str, object]:
    """Return a job's graph with the names of its files as the client gave them."""
    if not job.inputs:
        return graph
    given = job.metadata.get(INPUT_NAMES)
    names = given if isinstance(given, dict) else {}
    changed = dict(graph)
    for place, file in job.inputs.items():
        for node_id, name in _places(place, changed):
            node = changed[node_id]
            assert isinstance(node, dict)
            shown = names.get(place, file.name)
            changed[node_id] = {**node, "inputs": {**node["inputs"], name: shown}}
    return changed


def _places(place: str, graph: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return node and input of a place such as 10.image, if the graph has them."""
    cuts = [at for at, letter in enumerate(place) if letter == "."]
    found = ((place[:at], place[at + 1 :]) for at in cuts)
    return [(node, name) for node, name in found if name in _inputs(graph.get(node))][:1]


def _inputs(node: object) -> Mapping[str, object]:
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def shown_extra_data(job: Job, extra_data: Mapping[str, object]) -> dict[str, object]:
    """Return what stands beside a graph in the queue and in the history. It has no key."""
    shown = {name: value for name, value in extra_data.items() if name != TARGETS}
    client_id = client_id_of(job)
    if client_id:
        shown[CLIENT_ID] = client_id
    shown["create_time"] = job.submitted_at_ms
    return shown


def outputs_to_execute(
    job: Job,
    graph: Mapping[str, object],
    extra_data: Mapping[str, object],
    output_classes: Collection[str] | None,
) -> list[str]:
    """Return the nodes whose outputs the job is run for.

    `output_classes` are the classes of output nodes; None while no server is known, and then they
    are the nodes that have reported something.
    """
    if output_classes is None:
        return list(job.outputs)
    targets, dropped = extra_data.get(TARGETS), {problem.node for problem in job.problems}
    return [
        node_id
        for node_id, node in graph.items()
        if isinstance(node, dict)
        and node.get("class_type") in output_classes
        and (not isinstance(targets, list) or node_id in targets)
        and not _needs_any(node_id, graph, dropped)
    ]


def _needs_any(node_id: str, graph: Mapping[str, object], dropped: Collection[str]) -> bool:
    """Say whether a node, or one that it needs, is among those that the server refused."""
    waiting, seen = [node_id], {node_id}
    while waiting and dropped:
        one = waiting.pop()
        if one in dropped:
            return True
        sources = [source for value in _inputs(graph.get(one)).values() for source in _link(value)]
        waiting += [source for source in sources if source not in seen]
        seen.update(sources)
    return False


def _link(value: object) -> list[str]:
    """Return the node that an input comes from, if it comes from one."""
    return [str(value[0])] if isinstance(value, list) and len(value) == 2 else []


def meta_of(nodes: Iterable[str]) -> dict[str, dict[str, object]]:
    """Return what the history says of each node that has reported something."""
    return {
        node: {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}
        for node in nodes
    }
