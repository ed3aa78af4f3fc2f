"""Runs as a watcher sees them: messages with the time at which each came."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from everfold.runner.backend import Sighting
from everfold.runner.comfyui import messages as said
from everfold.runner.comfyui.graph import read_plan
from everfold.runner.comfyui.sightings import Sightings
from everfold.runner.costs.node_cost import NodeCost
from tests.comfyui.recordings.recording import Recording

SAMPLE_S = 0.05
"""How often a watcher looks."""

Graph = Mapping[str, Mapping[str, object]]


class TimedRun(Struct, frozen=True):
    """One run of a graph from its start to its success."""

    graph: Graph
    messages: Sequence[tuple[float, said.Message]]
    """In seconds since the start; all are about the prompt `p`."""

    @property
    def took_s(self) -> float:
        return self.messages[-1][0]

    @property
    def workflow(self) -> bytes:
        return json.dumps(self.graph).encode()

    def watch(self, costs: Mapping[str, NodeCost] = {}) -> list[tuple[float, Sighting]]:
        """Return what a watcher sees, and when: at each message, and each SAMPLE_S."""
        sightings, seen, at_s = Sightings("p", read_plan(self.workflow), costs), [], 0.0
        sightings.miss()
        for came_at_s, message in self.messages:
            while at_s < came_at_s:
                seen.append((at_s, sightings.merge(at_s)))
                at_s += SAMPLE_S
            sightings.add(message, at_s=came_at_s)
            seen.append((came_at_s, sightings.merge(came_at_s)))
        return seen

    def taught(self, costs: Mapping[str, NodeCost] = {}) -> dict[str, NodeCost]:
        """Return what the nodes took, as the watcher saw it."""
        return dict(self.watch(costs)[-1][1].node_costs)

    def values(self, costs: Mapping[str, NodeCost] = {}) -> list[tuple[float, float]]:
        """Return the value that the watcher shows at each SAMPLE_S."""
        value, shown = 0.0, dict[float, float]()
        for at_s, sighting in self.watch(costs):
            told = sighting.progress or sighting.estimate
            value = told.value if told is not None else value
            shown[round(at_s / SAMPLE_S) * SAMPLE_S] = value
        return sorted(shown.items())

    def error(self, costs: Mapping[str, NodeCost] = {}) -> float:
        """Return the mean of |value - share of the time that has passed|."""
        off = [abs(value - at_s / self.took_s) for at_s, value in self.values(costs)]
        return sum(off) / len(off)


class Work(Struct, frozen=True):
    """What a node does in a made-up run, in seconds."""

    node: str
    before_s: float = 0.0
    steps: int = 0
    step_s: float = 0.0
    after_s: float = 0.0


def made_run(graph: Graph, *works: Work) -> TimedRun:
    """Return the messages of a run as ComfyUI 0.3.64 sends them; other nodes take no time."""
    told, states, at_s = list[tuple[float, said.Message]](), dict[str, said.NodeState](), 0.0

    def tell(message: said.Message) -> None:
        told.append((at_s, message))

    def state(node: str, value: float, top: float, word: str = "running") -> None:
        states[node] = said.NodeState(value=value, max=top, state=word)
        tell(said.ProgressState(prompt_id="p", nodes=dict(states)))

    tell(said.ExecutionStart(prompt_id="p"))
    tell(said.ExecutionCached(prompt_id="p"))
    for work in works:
        state(work.node, 0, 1)
        tell(said.Executing(prompt_id="p", node=work.node))
        at_s += work.before_s
        for step in range(1, work.steps + 1):
            at_s += work.step_s
            state(work.node, step, work.steps)
            tell(said.ProgressValue(prompt_id="p", node=work.node, value=step, max=work.steps))
        at_s += work.after_s
        state(work.node, work.steps or 1, work.steps or 1, "finished")
    tell(said.ExecutionSuccess(prompt_id="p"))
    return TimedRun(graph, told)


def recorded_runs(name: str) -> Iterator[TimedRun]:
    """Yield the runs of a recording that were seen whole, from their start to their success."""
    recording = Recording(name)
    graphs = dict(_graphs(recording))
    for prompt_id, graph in graphs.items():
        messages = list(_messages(recording, prompt_id))
        starts = [at_s for at_s, message in messages if isinstance(message, said.ExecutionStart)]
        if not starts or not isinstance(messages[-1][1], said.ExecutionSuccess):
            continue
        yield TimedRun(graph, [(at_s - starts[0], message) for at_s, message in messages])


def _graphs(recording: Recording) -> Iterator[tuple[str, Graph]]:
    for record in recording.records:
        if record["dir"] == "http-response" and record.get("status") == 200:
            request, body = recording.request_of(record), record.get("body")
            if request["path"] == "/prompt" and isinstance(body, dict) and "prompt_id" in body:
                yield body["prompt_id"], request["body"]["prompt"]


def _messages(recording: Recording, prompt_id: str) -> Iterator[tuple[float, said.Message]]:
    sockets = {
        record["ws"]
        for record in recording.records
        if record["dir"] == "ws-recv"
        and record.get("msg", {}).get("data", {}).get("prompt_id") == prompt_id
    }
    first = min(sockets, default="")
    for record in recording.records:
        if record["dir"] == "ws-recv" and record["ws"] == first and "msg" in record:
            message = said.decode(json.dumps(record["msg"]))
            if message.prompt_id == prompt_id:
                yield record["t"], _as_p(message)
                if isinstance(message, said.ExecutionSuccess):
                    return


def _as_p(message: said.Message) -> said.Message:
    from msgspec.structs import replace

    return replace(message, prompt_id="p")
