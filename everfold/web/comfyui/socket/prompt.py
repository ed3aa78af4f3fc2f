"""One job as its client is told of it: its events and its backend's words, in ComfyUI's messages.

Rule: pure. The client sees one run, whatever runners and attempts there were: one start, each node
once and in order, no progress that falls, each output once, one end and nothing after it. What the
backend's words missed is made from the log, at the latest before the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, structs

from everfold.projector.job.job import Job
from everfold.streams.events import event as events
from everfold.streams.live import live_message as said
from everfold.streams.live.live_message import LiveEntry, NodeState
from everfold.web.comfyui.jobs.shown_job import shown_output, without_pictures
from everfold.web.comfyui.lifecycle_messages import (
    ExecutionCached,
    ExecutionInterrupted,
    ExecutionStart,
    execution_end,
)
from everfold.web.comfyui.socket.frames import (
    Executed,
    Executing,
    ExecutingNothing,
    Frame,
    NodeWords,
    Picture,
    Progress,
    StoredPicture,
    progress_state,
    text_of,
    whole,
)
from everfold.web.feeds.happening import Change, Happening


class StatusDue(Struct, frozen=True):
    """Stands where the state of the queue is told to everybody whose queue it is."""


STATUS_DUE = StatusDue()

Told = Frame | StatusDue

_HELD_ANEW = (events.Claimed, events.Recovered, events.Released, events.Lost, events.Retried)
"""After these nobody is known to say anything of the attempt, until somebody does."""


class Prompt:
    """What a client has been told of one job, and what it is to be told next."""

    def __init__(self, job: Job, prompt_id: str) -> None:
        self.prompt_id = prompt_id
        self.is_over = job.is_terminal
        self._job = job
        self._attempt = job.attempt
        self.has_begun = self._has_cached = job.started_at_ms > 0
        self._cached = frozenset[str]()
        self._is_heard = False
        """The backend's words of the present attempt come: they are newer than the log's."""
        self._node = self._display = job.node
        self._begun = {job.node} if job.node else set[str]()
        """Nodes of which the client knows that they began."""
        self._begun_before = frozenset[str]()
        """Those of earlier attempts."""
        self._states: dict[str, NodeState] = _states_of(job)
        self._states_before: dict[str, NodeState] = {}
        self._told = dict.fromkeys(job.outputs, self._attempt)
        """Node whose output was told -> the attempt that it was of."""
        self._outputs: dict[str, object] = dict(job.outputs)

    def tell(self, happening: Happening) -> list[Told]:
        """Return what the client is to be told of something that happened, in order."""
        if self.is_over:
            return []
        match happening:
            case Change(job=job, record=record):
                return list(self._changed(job, record.event, record.time_ms))
            case LiveEntry():
                return list(self._heard(happening))
            case said.Preview(node=node) if self.has_begun and not self._is_done(node):
                return [Picture(self.prompt_id, happening)]
        return []

    def _is_done(self, node: str) -> bool:
        """Say whether a node has ended: clients show a preview at the node that runs now."""
        state = self._states.get(node)
        if state is not None:
            return state.is_finished
        return node != self._node and node in self._begun

    def present(self) -> list[Frame]:
        """Return what a socket is to be told that connects now: where the run is."""
        if not self.has_begun or self.is_over:
            return []
        found = list[Frame]()
        if self._node:
            found.append(self._executing(self._node, self._display))
        if self._states:
            found.append(self._progress_state())
        return found

    def _changed(self, job: Job, event: object, now_ms: int) -> Iterator[Told]:
        if job.attempt > self._attempt:
            self._next_attempt(job.attempt)
        before, self._job = self._job, job
        match event:
            case events.Started() if job.started_at_ms:
                yield from self._begin(now_ms)
            case events.Progressed(attempt=attempt) if self._logged(attempt):
                yield from self._logged_progress(job, now_ms)
            case events.OutputSaved(attempt=attempt) if self._logged(attempt):
                yield from self._executed(event.node, "", event.output, now_ms)
            case _ if isinstance(event, _HELD_ANEW):
                self._is_heard = False
        if job.is_terminal:
            yield from self._end(job, before, now_ms)

    def _logged(self, attempt: int) -> bool:
        """Say whether an event about this attempt is the newest that is known of it."""
        return attempt == self._attempt and not self._is_heard

    def _logged_progress(self, job: Job, now_ms: int) -> Iterator[Told]:
        if not job.node:
            return
        yield from self._node_begins(job.node, "", now_ms)
        if job.steps:
            yield from self._steps(job.node, job.step, job.steps, now_ms)
            states = {**self._states, job.node: NodeState(job.step, job.steps)}
            yield from self._node_states(states, now_ms)

    def _heard(self, entry: LiveEntry) -> Iterator[Told]:
        if entry.attempt < self._attempt:
            return
        if entry.attempt > self._attempt:
            self._next_attempt(entry.attempt)
        self._is_heard = True
        match entry.message:
            case said.Began():
                yield from self._begin(entry.time_ms)
            case said.Cached(nodes=nodes):
                yield from self._begin(entry.time_ms)
                self._cached |= frozenset(nodes)
                yield from self._cache(tuple(nodes), entry.time_ms)
            case said.NodeBegan(node=node, display=display):
                yield from self._node_begins(node, display, entry.time_ms)
            case said.Steps(node=node, value=value, most=most):
                yield from self._steps(node, value, most, entry.time_ms)
            case said.States(nodes=nodes):
                yield from self._node_states(nodes, entry.time_ms)
            case said.NodeOutput(node=node, display=display, output=output):
                yield from self._executed(node, display, output, entry.time_ms)
            case said.NodeText(node=node, text=text):
                yield from self._runs(entry.time_ms)
                yield NodeWords(node, text)

    def _next_attempt(self, attempt: int) -> None:
        self._attempt, self._is_heard, self._cached = attempt, False, frozenset()
        self._begun_before = frozenset(self._begun)
        self._states_before = dict(self._states)

    def _begin(self, now_ms: int) -> Iterator[Told]:
        if not self.has_begun:
            self.has_begun = True
            yield STATUS_DUE
            start = ExecutionStart(prompt_id=self.prompt_id, timestamp=now_ms)
            yield text_of(start.TYPE, start)

    def _cache(self, nodes: tuple[str, ...], now_ms: int) -> Iterator[Told]:
        if not self._has_cached:
            self._has_cached = True
            told = ExecutionCached(nodes=nodes, prompt_id=self.prompt_id, timestamp=now_ms)
            yield text_of(told.TYPE, told)

    def _runs(self, now_ms: int) -> Iterator[Told]:
        """Tell the beginning, if that was missed."""
        yield from self._begin(now_ms)
        yield from self._cache((), now_ms)

    def _node_begins(self, node: str, display: str, now_ms: int) -> Iterator[Told]:
        yield from self._runs(now_ms)
        if node != self._node and node not in self._begun_before:
            self._node, self._display = node, display
            self._begun.add(node)
            yield self._executing(node, display)

    def _executing(self, node: str, display: str) -> Frame:
        return text_of(Executing.TYPE, Executing(node, display or node, self.prompt_id))

    def _steps(self, node: str, value: float, most: float, now_ms: int) -> Iterator[Told]:
        if not node:
            return
        if node not in self._begun:
            yield from self._node_begins(node, "", now_ms)
        before = self._states_before.get(node)
        if before is None or _share(NodeState(value, most)) > _share(before):
            told = Progress(whole(value), whole(most), self.prompt_id, node)
            yield text_of(told.TYPE, told)

    def _node_states(self, nodes: Mapping[str, NodeState], now_ms: int) -> Iterator[Told]:
        yield from self._runs(now_ms)
        merged = dict(self._states_before)
        for name, state in nodes.items():
            before = merged.get(name)
            if before is None or _share(state) >= _share(before):
                merged[name] = state
        if merged != self._states:
            self._states = merged
            yield self._progress_state()

    def _progress_state(self) -> Frame:
        told = progress_state(self.prompt_id, self._states)
        return text_of(told.TYPE, told)

    def _executed(
        self, node: str, display: str, output: dict[str, object] | None, now_ms: int
    ) -> Iterator[Told]:
        """Tell a node's output once; again only where a later attempt has another one."""
        yield from self._runs(now_ms)
        before = self._told.get(node)
        is_same = before == self._attempt or self._outputs.get(node) == output
        if before is not None and is_same:
            return
        if node not in self._begun and node not in self._cached:
            yield from self._node_begins(node, display, now_ms)
        self._told[node], self._outputs[node] = self._attempt, output
        shown = None if output is None else shown_output(self._job.job_id, output)
        told = Executed(node, display or node, shown, self.prompt_id)
        yield text_of(told.TYPE, told)

    def _end(self, job: Job, before: Job, now_ms: int) -> Iterator[Told]:
        """Tell what was missed, then the end. One that was canceled before it began is not told of,
        as ComfyUI does."""
        self.is_over = True
        if job.status == "succeeded":
            yield from self._begin(now_ms)
        if self.has_begun:
            yield from self._cache(job.cached, now_ms)
            self._cached |= frozenset(job.cached)
            yield from self._missed_outputs(job, now_ms)
        end = execution_end(job, self.prompt_id)
        if isinstance(end, ExecutionInterrupted):
            kind = before.node_class if before.node == self._node else ""
            done = (name for name, state in self._states.items() if state.is_finished)
            executed = job.executed or in_order(done)
            end = structs.replace(end, node_id=self._node, node_type=kind, executed=executed)
        if end is not None and (self.has_begun or job.status != "canceled"):
            yield text_of(end.TYPE, end)
        yield STATUS_DUE
        if self.has_begun or job.status != "canceled":
            over = ExecutingNothing(None, self.prompt_id)
            yield text_of(over.TYPE, over)

    def _missed_outputs(self, job: Job, now_ms: int) -> Iterator[Told]:
        for node in in_order(job.outputs):
            files, pictures = without_pictures(job.outputs[node])
            if files and node not in self._told:
                yield from self._executed(node, "", files, now_ms)
            if pictures and job.status == "succeeded":
                self._begun_before -= {node}
                yield from self._node_begins(node, "", now_ms)
                yield from (self._stored(node, one) for one in pictures)

    def _stored(self, node: str, reference: Mapping[str, object]) -> StoredPicture:
        return StoredPicture(
            self.prompt_id, node, str(reference.get("media_type")), str(reference["hash"])
        )


def in_order(nodes: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of nodes, numbers in their order."""
    return tuple(sorted(nodes, key=lambda node: (len(node), node)))


def _share(state: NodeState) -> float:
    """Return how much of a node is done, 0 to 1; more for one that has finished."""
    if state.is_finished:
        return 2.0
    return state.value / state.most if state.most > 0 else 0.0


def _states_of(job: Job) -> dict[str, NodeState]:
    return {job.node: NodeState(job.step, job.steps)} if job.node and job.steps else {}
