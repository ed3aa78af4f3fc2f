"""What the recorded server knew at the moment that a replay has reached.

Its queue and history were recorded only where somebody asked; between, the frames tell.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from tests.comfyui.recordings.recording import Record, Recording
from tests.comfyui.recordings.replay_server import ReplayServer


class RecordedState:
    """Keeps a ReplayServer's queue and history as the recorded server's were."""

    def __init__(self, recording: Recording, server: ReplayServer) -> None:
        self.recording = recording
        self.server = server
        self._graphs: dict[str, str] = {}
        self._accepted: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        """How often each prompt was accepted, and began to run."""
        self._told: dict[str, list[list[Any]]] = defaultdict(list)
        self._executed: dict[str, dict[str, Any]] = defaultdict(dict)

    def know(self, prompt_id: str, workflow: bytes) -> None:
        """Keep an eye on this prompt, which is about to be submitted."""
        self._graphs[prompt_id] = workflow.decode()

    def accept(self, prompt_id: str, response: Record) -> None:
        """Queue the prompt, unless it runs already or has ended: events may precede the answer."""
        # The one 500 of the recordings that reached the server hid an accepted prompt.
        self._accepted[prompt_id] += response["status"] in (200, 500)
        if self._accepted[prompt_id] > self._begun[prompt_id]:
            number = response["body"]["number"] if response["status"] == 200 else 500.0
            self.server.pending.append([number, prompt_id, self._graph(prompt_id), {}, []])

    def learn_queue(self, request: Record, response: Record) -> None:
        body, server = request["body"] or {}, self.server
        if request["method"] == "GET":
            server.running = response["body"]["queue_running"]
            server.pending = response["body"]["queue_pending"]
            self._end_the_missing(response)
        elif body.get("clear"):
            server.pending = []
        for prompt_id in body.get("delete", []):
            for item in [item for item in server.pending if item[1] == prompt_id][:1]:
                server.pending.remove(item)

    def _end_the_missing(self, response: Record) -> None:
        """What left the queue has its history by then, though it was looked up a moment later."""
        queued = {item[1] for item in [*self.server.running, *self.server.pending]}
        for prompt_id in self._graphs.keys() - queued:
            entry = self.recording.history_after(response["t"], prompt_id)
            if entry is not None:
                self._end(prompt_id, entry)

    def learn_history(self, request: Record, response: Record) -> None:
        body, path, server = request["body"] or {}, request["path"], self.server
        if response["status"] == 500 and path != "/history":
            server.unreadable.add(path.removeprefix("/history/"))
        if isinstance(response["body"], dict):
            for prompt_id, entry in response["body"].items():
                self._end(prompt_id, entry)
        for prompt_id in list(server.history) if body.get("clear") else body.get("delete", []):
            server.history.pop(prompt_id, None)
            server.unreadable.discard(prompt_id)

    def _end(self, prompt_id: str, entry: dict[str, Any]) -> None:
        self.server.history[prompt_id] = entry
        self.server.running = [item for item in self.server.running if item[1] != prompt_id]

    def follow(self, record: Record) -> None:
        """Take from a frame what the server thereby admits to know."""
        kind, data = record["msg"]["type"], record["msg"]["data"]
        prompt_id = data.get("prompt_id")
        if prompt_id not in self._graphs:
            return
        if kind.startswith("execution_"):
            self._told[prompt_id].append([kind, data])
        if kind == "execution_start":
            self._begun[prompt_id] += 1
        if data.get("node") or kind == "execution_start":
            self._run(prompt_id)
        if kind == "executed":
            self._executed[prompt_id][data["node"]] = data["output"]
        elif kind == "executing" and data["node"] is None:
            recorded = self.recording.history_after(record["t"], prompt_id)
            self._end(prompt_id, recorded or self._made_up_entry(prompt_id))
            self._told.pop(prompt_id)

    def _run(self, prompt_id: str) -> None:
        server = self.server
        if any(item[1] == prompt_id for item in server.running):
            return
        waiting = [item for item in server.pending if item[1] == prompt_id][:1]
        server.pending = [item for item in server.pending if item not in waiting]
        server.running = waiting or [[0, prompt_id, self._graph(prompt_id), {}, []]]

    def _made_up_entry(self, prompt_id: str) -> dict[str, Any]:
        """Write the history entry that the frames imply, where none was recorded."""
        told = self._told[prompt_id]
        succeeded = told[-1][0] == "execution_success"
        return {
            "prompt": [0, prompt_id, self._graph(prompt_id), {}, []],
            "outputs": self._executed[prompt_id],
            "status": {
                "status_str": "success" if succeeded else "error",
                "completed": succeeded,
                "messages": told,
            },
        }

    def _graph(self, prompt_id: str) -> Any:
        return json.loads(self._graphs[prompt_id])
